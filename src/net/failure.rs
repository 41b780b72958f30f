//! What an operating system or TLS error means, in the vocabulary of failures.

use std::io;

use crate::step::{Class, Failure};

/// Classifies an input/output error, TLS errors inside it included.
pub fn classify(error: &io::Error) -> Failure {
    Failure::new(class(error), &describe(error))
}

fn class(error: &io::Error) -> Class {
    if let Some(tls) = tls_error(error) {
        return tls_class(tls);
    }
    match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => return Class::DescriptorsExhausted,
        Some(rustix::io::Errno::ADDRNOTAVAIL | rustix::io::Errno::ADDRINUSE) => return Class::PortsExhausted,
        Some(rustix::io::Errno::NOMEM | rustix::io::Errno::NOBUFS) => return Class::MemoryExhausted,
        _ => {}
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Class::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            Class::Reset
        }
        io::ErrorKind::UnexpectedEof | io::ErrorKind::NotConnected => Class::Closed,
        io::ErrorKind::TimedOut => Class::ConnectTimeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => {
            Class::Unreachable
        }
        io::ErrorKind::OutOfMemory => Class::MemoryExhausted,
        // What hyper says of a body whose framing makes no sense.
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Class::BadAnswer,
        _ => Class::OtherIo,
    }
}

fn tls_class(error: &rustls::Error) -> Class {
    use rustls::CertificateError as Certificate;
    match error {
        rustls::Error::InvalidCertificate(Certificate::UnknownIssuer | Certificate::BadSignature) => {
            Class::UntrustedCertificate
        }
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
            Class::InvalidCertificate
        }
        _ => Class::TlsFailed,
    }
}

fn describe(error: &io::Error) -> String {
    match tls_error(error) {
        Some(tls) => tls.to_string(),
        None => error.to_string(),
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shortage_of_this_machine_is_told_from_trouble_of_the_network() {
        for (errno, expected) in [
            (rustix::io::Errno::MFILE, Class::DescriptorsExhausted),
            (rustix::io::Errno::ADDRNOTAVAIL, Class::PortsExhausted),
            (rustix::io::Errno::NOBUFS, Class::MemoryExhausted),
            (rustix::io::Errno::CONNREFUSED, Class::Refused),
            (rustix::io::Errno::CONNRESET, Class::Reset),
            (rustix::io::Errno::PIPE, Class::Reset),
            (rustix::io::Errno::TIMEDOUT, Class::ConnectTimeout),
            (rustix::io::Errno::HOSTUNREACH, Class::Unreachable),
            (rustix::io::Errno::PERM, Class::OtherIo),
        ] {
            assert_eq!(classify(&errno.into()).class, expected, "{errno:?}");
        }
    }

    #[test]
    fn an_unknown_authority_is_told_from_a_wrong_name() {
        let io = |error: rustls::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        for (error, expected) in [
            (rustls::CertificateError::UnknownIssuer, Class::UntrustedCertificate),
            (rustls::CertificateError::NotValidForName, Class::InvalidCertificate),
            (rustls::CertificateError::Expired, Class::InvalidCertificate),
        ] {
            assert_eq!(classify(&io(rustls::Error::InvalidCertificate(error))).class, expected);
        }
        assert_eq!(classify(&io(rustls::Error::DecryptError)).class, Class::TlsFailed);
    }
}
