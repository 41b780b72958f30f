//! The emulator's certificates: an authority of its own, and a server certificate for every name it goes by.
//!
//! Made fresh for each start, or kept in a directory so that clients can trust one `ca.pem` for good:
//!
//! | found in the directory | what happens |
//! |---|---|
//! | nothing | an authority and a server certificate are made and written |
//! | `ca.pem`, `ca.key` | a new server certificate of that authority is made and written: names may have changed |
//! | `ca.pem`, `server.pem`, `server.key` | used as they are: somebody else's authority made them; refused if they lack a name clients need |

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;

use crate::azure::dps;
use crate::time::UnixTime;

/// A server certificate with its key, and the authority to trust for it.
pub struct Certificates {
    /// The authority's certificate, for clients.
    pub ca_pem: String,
    /// The server's certificate, followed by those between it and the authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// The server's key.
    pub key: PrivateKeyDer<'static>,
}

impl Certificates {
    /// Checks that the server's certificate is for all of these names.
    fn require(&self, names: &[&str], path: &Path) -> Result<(), CertificateError> {
        let content = |reason| CertificateError::Content { path: path.to_owned(), reason };
        let certificate = self.chain.first().map(ParsedCertificate::try_from).transpose();
        let Ok(Some(certificate)) = certificate else {
            return Err(content("the server's certificate cannot be read".to_owned()));
        };
        let lacks = |name: &&&str| {
            let server = ServerName::try_from(**name);
            !server.is_ok_and(|server| verify_server_name(&certificate, &server).is_ok())
        };
        let lacking: Vec<&str> = names.iter().filter(lacks).copied().collect();
        if lacking.is_empty() {
            return Ok(());
        }
        Err(content(format!(
            "it is not for {}, which clients will look for; have it made for them, or give ca.pem with ca.key, or an empty \
             directory, and one is made here",
            lacking.join(", ")
        )))
    }
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The library refused, for example because a host is no DNS name.
    #[error("cannot make a certificate for {names:?}: {source}")]
    Make {
        /// The names it was to be for.
        names: Vec<String>,
        /// What the library says.
        source: rcgen::Error,
    },
    /// A file of the directory cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// Some files are there and others are not.
    #[error(
        "{} has some of ca.pem, ca.key, server.pem and server.key, but no set to work with; give ca.pem with server.pem \
         and server.key, or ca.pem with ca.key, or an empty directory",
        directory.display()
    )]
    Incomplete {
        /// The directory.
        directory: PathBuf,
    },
}

/// Makes an authority and a server certificate for [`fixed_names`] and `names` (host names and addresses).
///
/// # Errors
/// [`CertificateError::Make`] when a name cannot stand in a certificate.
pub fn make(names: &[String], wall: UnixTime) -> Result<Certificates, CertificateError> {
    let authority = Authority::make(wall)?;
    let (server_pem, key_pem) = authority.issue(names, wall)?;
    assemble(authority.pem, &server_pem, &key_pem, Path::new("the certificate just made"))
}

/// Takes the certificates kept in `directory`, or makes and keeps them there. Keys are written for the owner's eyes only.
///
/// * `names`: what a certificate that is made is for, besides [`fixed_names`]
/// * `required`: what a server certificate of another authority must be for; made ones are for all of [`fixed_names`]
///
/// # Errors
/// [`CertificateError`] names the file and what is wrong with it.
pub fn keep(
    directory: &Path,
    names: &[String],
    required: &[&str],
    wall: UnixTime,
) -> Result<Certificates, CertificateError> {
    let path = |name: &str| directory.join(name);
    let [ca, ca_key, server, server_key] = [CA_FILE, CA_KEY_FILE, SERVER_FILE, SERVER_KEY_FILE].map(path);
    let file_error = |path: &Path| {
        let path = path.to_owned();
        move |source| CertificateError::File { path, source }
    };
    let authority = match [&ca, &ca_key, &server, &server_key].map(|path| path.exists()) {
        [true, false, true, true] => {
            let read = |path: &Path| fs::read_to_string(path).map_err(file_error(path));
            let kept = assemble(read(&ca)?, &read(&server)?, &read(&server_key)?, &server)?;
            return kept.require(required, &server).map(|()| kept);
        }
        [true, true, ..] => Authority::load(&ca, &ca_key)?,
        [false, false, false, false] => {
            fs::create_dir_all(directory).map_err(file_error(directory))?;
            let authority = Authority::make(wall)?;
            // The key first: a directory with a certificate and no key would be refused for ever.
            write(&ca_key, &authority.issuer.key().serialize_pem(), true).map_err(file_error(&ca_key))?;
            write(&ca, &authority.pem, false).map_err(file_error(&ca))?;
            authority
        }
        _ => return Err(CertificateError::Incomplete { directory: directory.to_owned() }),
    };
    let (server_pem, key_pem) = authority.issue(names, wall)?;
    write(&server_key, &key_pem, true).map_err(file_error(&server_key))?;
    write(&server, &server_pem, false).map_err(file_error(&server))?;
    assemble(authority.pem, &server_pem, &key_pem, &server)
}

/// Names that every server certificate is for.
pub fn fixed_names() -> impl Iterator<Item = &'static str> {
    [
        "localhost",
        "127.0.0.1",
        "::1",
        dps::GLOBAL_HOST,
        "*.azure-devices-provisioning.net",
        "*.azure-devices.net",
        // Many clients refuse a wildcard this near to the root; hubs are named one by one for those.
        "*.azure-devices.localhost",
        super::serve::DPS_HOST,
    ]
    .into_iter()
}

/// What signs server certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn make(wall: UnixTime) -> Result<Self, CertificateError> {
        let failed = |source| CertificateError::Make { names: vec![AUTHORITY_NAME.to_owned()], source };
        let params = Self::params(wall);
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let pem = params.self_signed(&key).map_err(failed)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    fn load(ca: &Path, ca_key: &Path) -> Result<Self, CertificateError> {
        let read = |path: &Path| {
            fs::read_to_string(path)
                .map_err(|source| CertificateError::File { path: path.to_owned(), source })
        };
        let content =
            |path: &Path, reason: String| CertificateError::Content { path: path.to_owned(), reason };
        let pem = read(ca)?;
        CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| content(ca, format!("not a PEM certificate ({error})")))?;
        let key = KeyPair::from_pem(&read(ca_key)?)
            .map_err(|error| content(ca_key, format!("not a private key ({error})")))?;
        // Subject and key usage are the same for every authority made here; only its key differs.
        Ok(Self { issuer: Issuer::new(Self::params(UnixTime::from_nanos(0)), key), pem })
    }

    fn params(wall: UnixTime) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, AUTHORITY_NAME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, wall, AUTHORITY_DAYS);
        params
    }

    /// A server certificate and its key, as PEM.
    fn issue(&self, names: &[String], wall: UnixTime) -> Result<(String, String), CertificateError> {
        let mut all: Vec<String> = fixed_names().map(str::to_owned).collect();
        for name in names {
            if !all.contains(name) {
                all.push(name.clone());
            }
        }
        let failed = |source| CertificateError::Make { names: all.clone(), source };
        let mut params = CertificateParams::new(all.clone()).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, "muster emulator");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Python's strict verification wants it.
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, wall, SERVER_DAYS);
        // P-256: an RSA key of 2048 bits limits a core to 1,300 handshakes a second.
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

/// Valid from a day before `wall`, for clocks that are behind, until `days` after that.
fn set_validity(params: &mut CertificateParams, wall: UnixTime, days: u32) {
    let day = Duration::from_secs(86_400);
    let start = Duration::from_secs(wall.seconds()).saturating_sub(day);
    params.not_before = date_time_ymd(1970, 1, 1) + start;
    params.not_after = date_time_ymd(1970, 1, 1) + start + day * days;
}

fn assemble(ca_pem: String, server: &str, key: &str, path: &Path) -> Result<Certificates, CertificateError> {
    let content = |reason| CertificateError::Content { path: path.to_owned(), reason };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(server.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| content(format!("not a PEM certificate ({error})")))?;
    if chain.is_empty() {
        return Err(content("no certificate in it".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|error| content(format!("its private key is not PEM ({error})")))?;
    Ok(Certificates { ca_pem, chain, key })
}

fn write(path: &Path, text: &str, is_secret: bool) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
        let mode = if is_secret { 0o600 } else { 0o644 };
        options.mode(mode);
        // The mode above is for a file that is created; one that exists keeps its own.
        if path.exists() {
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        }
    }
    options.open(path)?.write_all(text.as_bytes())
}

const CA_FILE: &str = "ca.pem";
const CA_KEY_FILE: &str = "ca.key";
const SERVER_FILE: &str = "server.pem";
const SERVER_KEY_FILE: &str = "server.key";

const AUTHORITY_NAME: &str = "muster emulator authority";

const AUTHORITY_DAYS: u32 = 10 * 365;

/// Apple's systems refuse server certificates that are valid for longer than 825 days.
const SERVER_DAYS: u32 = 825;

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: UnixTime = UnixTime::from_nanos(1_767_225_600_000_000_000);

    #[test]
    fn a_kept_authority_stays_and_its_server_certificate_follows_the_names() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("certificates");
        let first =
            keep(&path, &["one.azure-devices.localhost".to_owned()], &[], WALL).expect("certificates");
        let second =
            keep(&path, &["two.azure-devices.localhost".to_owned()], &[], WALL).expect("certificates");
        assert_eq!(first.ca_pem, second.ca_pem);
        assert_ne!(first.chain, second.chain);
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_written_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().expect("a directory");
        keep(directory.path(), &[], &[], WALL).expect("certificates");
        for (file, mode) in [(CA_KEY_FILE, 0o600), (SERVER_KEY_FILE, 0o600)] {
            let found = fs::metadata(directory.path().join(file)).expect("a file").permissions().mode();
            assert_eq!(found & 0o777, mode, "{file}");
        }
    }

    #[test]
    fn certificates_of_another_authority_are_used_as_they_are() {
        let directory = tempfile::tempdir().expect("a directory");
        let made = keep(directory.path(), &[], &[], WALL).expect("certificates");
        fs::remove_file(directory.path().join(CA_KEY_FILE)).expect("a file");
        let found =
            keep(directory.path(), &["new.azure-devices.localhost".to_owned()], &[], WALL).expect("them");
        assert_eq!(made.chain, found.chain);
    }

    #[test]
    fn a_kept_certificate_that_lacks_a_name_which_clients_need_is_refused_with_the_remedy() {
        let directory = tempfile::tempdir().expect("a directory");
        let needed = ["localhost", "127.0.0.1", dps::GLOBAL_HOST, "contoso.azure-devices.net"];
        keep(directory.path(), &[], &needed, WALL).expect("certificates");
        fs::remove_file(directory.path().join(CA_KEY_FILE)).expect("a file");
        keep(directory.path(), &[], &needed, WALL).expect("it is for all of them");
        let needed = ["localhost", "127.0.0.2", "a.b.azure-devices.net"];
        let error = keep(directory.path(), &[], &needed, WALL).err().expect("an error").to_string();
        assert!(error.contains("server.pem: it is not for 127.0.0.2, a.b.azure-devices.net,"), "{error}");
        assert!(error.contains("empty directory"), "{error}");
    }

    #[test]
    fn a_directory_with_half_of_a_set_is_refused_with_the_file_names() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join(SERVER_KEY_FILE), "x").expect("a file");
        let error = keep(directory.path(), &[], &[], WALL).err().expect("an error").to_string();
        assert!(error.contains("ca.pem with server.pem"), "{error}");
        for file in [CA_FILE, SERVER_FILE] {
            fs::write(directory.path().join(file), "nonsense").expect("a file");
        }
        let error = keep(directory.path(), &[], &[], WALL).err().expect("an error").to_string();
        assert!(error.contains("server.pem"), "{error}");
    }
}
