//! Host names in a scenario.

use crate::document::diagnostics::quote;
use crate::document::node::Text;
use crate::document::values::Refusal;

/// A host name or address, with `:port` if wanted; no scheme, no path.
pub(super) fn check(text: &Text) -> Result<String, Refusal> {
    let refuse = |reason: &str| {
        Refusal::new(
            format!("{} is not a host: {reason}", quote(text.shown())),
            "write a host name, with `:port` if it is not the usual one: contoso.azure-devices.net",
        )
    };
    let value = text.value.as_str();
    if value.contains("://") {
        return Err(refuse("it has a scheme"));
    }
    let (name, port) = if let Some(rest) = value.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or_else(|| refuse("its bracket is not closed"))?;
        address.parse::<std::net::Ipv6Addr>().map_err(|_| refuse("its brackets hold no IPv6 address"))?;
        (None, port)
    } else {
        let at = value.find(':').unwrap_or(value.len());
        (Some(&value[..at]), &value[at..])
    };
    if let Some(name) = name {
        check_labels(name, false).map_err(refuse)?;
    }
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
        return Err(refuse("its port is not a number from 1 to 65535"));
    }
    Ok(value.to_owned())
}

/// A pattern of hosts that DPS may send devices to: a host name in which `*` stands for any characters.
pub(super) fn check_pattern(text: &Text) -> Result<String, Refusal> {
    let help = "name the hubs, for example \"contoso-*.azure-devices.net\" or \"*.azure-devices.net\"";
    let value = text.value.as_str();
    let (name, port) = value.split_once(':').map_or((value, None), |(name, port)| (name, Some(port)));
    if port.is_some_and(|port| !is_port(port)) {
        let reason = "its port is not a number from 1 to 65535";
        return Err(Refusal::new(
            format!("{} is not a pattern of hosts: {reason}", quote(text.shown())),
            help,
        ));
    }
    check_labels(name, true).map_err(|reason| {
        Refusal::new(format!("{} is not a pattern of hosts: {reason}", quote(text.shown())), help)
    })?;
    let fixed = name.split('.').rev().take_while(|label| !label.contains('*')).count();
    // The last two labels name an organisation: `*.net` would allow half of the internet.
    if name.contains('*') && fixed < 2 {
        return Err(Refusal::new(
            format!("{} would let DPS send devices almost anywhere", quote(text.shown())),
            help,
        ));
    }
    Ok(value.to_owned())
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

fn check_labels(name: &str, pattern: bool) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("it is empty");
    }
    if name.len() > 253 {
        return Err("it is longer than 253 characters");
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_') || (pattern && c == '*');
    let name = name.strip_suffix('.').unwrap_or(name);
    if !name.split('.').all(|label| (1..=63).contains(&label.len()) && label.chars().all(legal)) {
        return Err("its parts must be letters, digits and `-`, separated by single dots");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Text {
        Text { value: value.to_owned(), written: None }
    }

    #[test]
    fn hosts_have_no_scheme_path_or_user() {
        for good in ["contoso.azure-devices.net", "localhost:8443", "[::1]:443", "127.0.0.1", "a_b.c"] {
            assert_eq!(check(&text(good)).unwrap(), good);
        }
        for bad in [
            "",
            "https://a.b",
            "a/b",
            "a@b",
            "a..b",
            "a:0",
            "a:65536",
            "a:+5",
            "a:",
            "[::1",
            "[x]",
            "a b",
            "a:1:2",
            "ü",
        ] {
            assert!(check(&text(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_name_at_least_an_organisation() {
        for good in ["*.azure-devices.net", "contoso-*.azure-devices.net", "hub.example.com", "localhost"] {
            assert_eq!(check_pattern(&text(good)).unwrap(), good);
        }
        for bad in ["*", "*.*", "*.net", "evil.*", "a*.com", "", "https://*.a.net"] {
            assert!(check_pattern(&text(bad)).is_err(), "{bad}");
        }
    }
}
