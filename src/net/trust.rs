//! Whom a client trusts, and the TLS that it speaks. There is no switch that turns verification off.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

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
    let provider = Arc::new(provider());
    let verifier = Remembering::new(Arc::new(roots), &provider);
    let config = |versions| {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .expect("the provider serves TLS 1.2 and 1.3")
            // The verifier is rustls' own, asked once a minute for each certificate.
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    };
    Ok(ClientTls { any: config(rustls::ALL_VERSIONS), only_12: config(&[&rustls::version::TLS12]) })
}

/// Rustls' verifier, and a memory of what it found good: a fleet is shown the same chain of certificates by each of its
/// connections, and to verify the signatures of a chain anew takes an eighth of what a connection costs. That the server
/// has the certificate's key, it proves in every handshake.
#[derive(Debug)]
struct Remembering {
    verifier: Arc<WebPkiServerVerifier>,
    known: Mutex<Vec<Known>>,
}

/// A chain that was good for a name.
#[derive(Debug)]
struct Known {
    chain: Vec<CertificateDer<'static>>,
    name: ServerName<'static>,
    at: UnixTime,
}

/// How long, in seconds, a chain is believed to be good: one that expires is noticed that much later at most.
const BELIEVED_S: u64 = 60;

/// So many chains are remembered: those of DPS and some hubs, each by several machines.
const MAX_KNOWN: usize = 64;

impl Remembering {
    fn new(roots: Arc<RootCertStore>, provider: &Arc<CryptoProvider>) -> Arc<Self> {
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
        Arc::new(Self { verifier: verifier.expect("somebody is trusted"), known: Mutex::default() })
    }

    /// What is known; a thread that panicked while it had the list has left it whole.
    fn known(&self) -> MutexGuard<'_, Vec<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn is(
        &self,
        end_entity: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
    ) -> bool {
        self.chain.split_first().is_some_and(|(first, rest)| first == end_entity && rest == others)
            && self.name == *name
    }

    /// Whether it is to be believed at `now`; a clock that was set back makes it worthless.
    fn holds(&self, now: UnixTime) -> bool {
        now.as_secs().checked_sub(self.at.as_secs()).is_some_and(|age| age < BELIEVED_S)
    }
}

impl ServerCertVerifier for Remembering {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let is_known = |known: &Known| known.is(end_entity, intermediates, server_name) && known.holds(now);
        if self.known().iter().any(is_known) {
            return Ok(ServerCertVerified::assertion());
        }
        let verified =
            self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        let mut known = self.known();
        known.retain(|known| known.holds(now) && !known.is(end_entity, intermediates, server_name));
        if known.len() == MAX_KNOWN {
            known.remove(0);
        }
        let chain = std::iter::once(end_entity).chain(intermediates);
        let chain = chain.map(|certificate| certificate.clone().into_owned()).collect();
        known.push(Known { chain, name: server_name.to_owned(), at: now });
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
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

    /// A certificate for `name` and a verifier that trusts it.
    fn trusted(name: &str) -> (CertificateDer<'static>, Arc<Remembering>) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("a root");
        (made.cert.der().clone(), Remembering::new(Arc::new(roots), &Arc::new(provider())))
    }

    /// Within the life of every certificate here, so many seconds later.
    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000 + seconds))
    }

    #[test]
    fn a_chain_that_was_good_is_believed_for_a_minute_and_only_for_its_name() {
        let (certificate, verifier) = trusted("hub.example");
        let (stranger, _) = trusted("hub.example");
        let name = |name: &'static str| ServerName::try_from(name).expect("a name");
        let verify = |certificate, name: &ServerName<'_>, now| {
            verifier.verify_server_cert(certificate, &[], name, &[], now).is_ok()
        };
        let remembered = || verifier.known().iter().map(|known| known.at).collect::<Vec<_>>();
        assert!(verify(&certificate, &name("hub.example"), at(0)));
        assert!(verify(&certificate, &name("hub.example"), at(59)));
        assert_eq!(remembered(), [at(0)], "not asked again");
        for wrong in [
            verify(&certificate, &name("other.example"), at(1)),
            verify(&stranger, &name("hub.example"), at(1)),
        ] {
            assert!(!wrong && remembered() == [at(0)]);
        }
        assert!(verify(&certificate, &name("hub.example"), at(60)));
        assert_eq!(remembered(), [at(60)], "asked again");
        assert!(verify(&certificate, &name("hub.example"), at(30)));
        assert_eq!(remembered(), [at(30)], "the clock was set back");
    }

    #[test]
    fn a_chain_with_other_certificates_in_it_is_another() {
        let (certificate, verifier) = trusted("hub.example");
        let (other, _) = trusted("hub.example");
        let name = ServerName::try_from("hub.example").expect("a name");
        for chain in [&[][..], std::slice::from_ref(&other)] {
            verifier.verify_server_cert(&certificate, chain, &name, &[], at(0)).expect("a root itself");
        }
        assert_eq!(verifier.known().len(), 2);
    }

    #[test]
    fn many_names_do_not_make_the_memory_grow() {
        let (certificate, verifier) = trusted("*.hubs.example");
        for number in 0..3 * MAX_KNOWN {
            let name = ServerName::try_from(format!("hub-{number}.hubs.example")).expect("a name");
            verifier.verify_server_cert(&certificate, &[], &name, &[], at(0)).expect("it is good for all");
        }
        assert_eq!(verifier.known().len(), MAX_KNOWN);
    }
}
