//! Whom a client trusts, and the TLS that it speaks. There is no switch that turns verification off.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Where the trusted authorities come from.
#[derive(Debug, Clone)]
pub enum Trust {
    /// The system's (or those of SSL_CERT_FILE), or Mozilla's where the system has none; and those of a PEM file if one
    /// is named.
    System {
        /// More authorities, as PEM.
        ca_file: Option<PathBuf>,
    },
    /// Only the authorities of this PEM text.
    Only(String),
}

/// Why there is nobody to trust.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error("{path}: cannot read the authorities' certificates: {source}; check `ca_file`")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No certificate in it.
    #[error("{origin} holds no usable PEM certificate; it must have a `-----BEGIN CERTIFICATE-----` block")]
    Empty {
        /// The file or other origin.
        origin: String,
    },
}

/// TLS for all devices of a run: shared, without resumption.
#[derive(Debug, Clone)]
pub struct ClientTls {
    /// TLS 1.3 and 1.2.
    pub any: Arc<ClientConfig>,
    /// TLS 1.2 only, as some SDKs insist on.
    pub only_12: Arc<ClientConfig>,
}

/// TLS for devices that trust `trust`.
///
/// Resumption is off because rustls keeps sessions by server name: device B would resume device A's session, and
/// handshakes would look cheaper than a fleet's are.
///
/// # Errors
/// [`TrustError`] when a file cannot be read or holds no certificate.
pub fn client_tls(trust: &Trust) -> Result<ClientTls, TrustError> {
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::Only(pem) => add(&mut roots, pem.as_bytes(), "the emulator's certificate")?,
        Trust::System { ca_file } => {
            let native = rustls_native_certs::load_native_certs();
            let (added, _) = roots.add_parsable_certificates(native.certs);
            if added == 0 {
                roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            }
            if let Some(path) = ca_file {
                let pem = read(path)?;
                add(&mut roots, &pem, &path.display().to_string())?;
            }
        }
    }
    let roots = Arc::new(roots);
    let config = |versions| {
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(versions)
            .expect("the provider serves TLS 1.2 and 1.3")
            .with_root_certificates(Arc::clone(&roots))
            .with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    };
    Ok(ClientTls { any: config(rustls::ALL_VERSIONS), only_12: config(&[&rustls::version::TLS12]) })
}

/// What devices in the field offer: no post-quantum key exchange, and AES-128 first, which costs 7 % less a connect.
fn provider() -> CryptoProvider {
    use aws_lc_rs::{cipher_suite as suite, kx_group};
    CryptoProvider {
        cipher_suites: vec![
            suite::TLS13_AES_128_GCM_SHA256,
            suite::TLS13_AES_256_GCM_SHA384,
            suite::TLS13_CHACHA20_POLY1305_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        ],
        kx_groups: vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..aws_lc_rs::default_provider()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TrustError> {
    use std::io::Read as _;
    let unreadable = |source| TrustError::Unreadable { path: path.to_owned(), source };
    let mut pem = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_PEM).read_to_end(&mut pem).map_err(unreadable)?;
    Ok(pem)
}

/// More than any bundle of authorities.
const MAX_PEM: u64 = 16 * 1024 * 1024;

fn add(roots: &mut RootCertStore, pem: &[u8], origin: &str) -> Result<(), TrustError> {
    let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(TrustError::Empty { origin: origin.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused_by_name() {
        let error = client_tls(&Trust::Only("no PEM".to_owned())).expect_err("nothing to trust");
        assert!(error.to_string().contains("BEGIN CERTIFICATE"), "{error}");
        let missing = Trust::System { ca_file: Some("no/such/file.pem".into()) };
        let error = client_tls(&missing).expect_err("no file");
        assert!(error.to_string().contains("no/such/file.pem"), "{error}");
    }
}
