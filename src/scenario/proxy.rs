//! `target.proxy`: `http://user:password@host:port`, of which the first half is secret.

use percent_encoding::percent_decode_str;

use crate::document::Diagnostics;
use crate::document::node::{Node, Text, Value};
use crate::document::source::{Origin, SourceId};
use crate::document::values::Refusal;
use crate::net::dial::Endpoint;
use crate::net::proxy::Proxy;
use crate::text::Secret;

/// Stands for a variable while the text as written is looked at; no text has it.
const VARIABLE: char = '\u{0}';

const SHAPE: &str = "write proxy = \"http://proxy.example:3128\"";

const WITH_PASSWORD: &str =
    "write proxy = \"http://${env:PROXY_USER}:${env:PROXY_PASSWORD}@proxy.example:3128\"";

/// Reads the address of a proxy. No complaint repeats any of it: whatever is wrong with it, it may hold a password.
pub(super) fn check(text: &Text, source: SourceId) -> Result<Proxy, Refusal> {
    let Some((scheme, rest)) = text.value.split_once("://") else {
        return Err(Refusal::new("this is not the address of a proxy: it has no scheme", SHAPE));
    };
    if !scheme.eq_ignore_ascii_case("http") {
        let known = ["https", "socks", "socks4", "socks4a", "socks5", "socks5h"];
        let known = known.into_iter().find(|known| known.eq_ignore_ascii_case(scheme));
        let what = known.map_or_else(|| "of this scheme".to_owned(), |known| format!("with `{known}://`"));
        return Err(Refusal::new(
            format!("proxies {what} are not supported: connections are opened by the CONNECT of HTTP"),
            format!("{SHAPE}: it sees hosts and ports only, for TLS is spoken through it"),
        ));
    }
    if has_literal_password(text) {
        let message = match (&text.written, source) {
            (Some(_), _) => "a part of the password is written out; all of it belongs into the variable",
            (None, SourceId::FILE) => "a password does not belong into a file that is kept and shared",
            (None, _) => {
                "a password does not belong on a command line, which every process on this machine can read"
            }
        };
        return Err(Refusal::new(message, WITH_PASSWORD));
    }
    let (credentials, place) = match rest.rsplit_once('@') {
        Some((credentials, place)) => (Some(credentials).filter(|it| !it.is_empty()), place),
        None => (None, rest),
    };
    let place = place.strip_suffix('/').unwrap_or(place);
    if place.contains(['/', '?', '#']) {
        return Err(Refusal::new("the address of a proxy has no path", SHAPE));
    }
    let endpoint = match Endpoint::parse(place, 0) {
        Some(Endpoint { port: 0, .. }) => {
            return Err(Refusal::new(
                "the proxy has no port",
                "add it; 3128 and 8080 are usual: proxy = \"http://proxy.example:3128\"",
            ));
        }
        Some(endpoint) => endpoint,
        None => {
            return Err(Refusal::new(
                "the proxy has no legal host, or a port that is not 1 to 65535",
                "write `%40` for an @ in a user or password: proxy = \"http://proxy.example:3128\"",
            ));
        }
    };
    let credentials = credentials.map(decoded).transpose()?;
    Ok(Proxy::new(endpoint, credentials.as_ref()))
}

/// `user:password` with what is percent-encoded in it decoded.
fn decoded(credentials: &str) -> Result<Secret, Refusal> {
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let illegal = |reason| Refusal::new(reason, "check the variables that user and password come from");
    let mut whole: Vec<u8> = Vec::with_capacity(credentials.len() + 1);
    whole.extend(percent_decode_str(user));
    if whole.contains(&b':') {
        return Err(illegal("a user with a colon cannot be told to a proxy (RFC 7617)"));
    }
    whole.push(b':');
    whole.extend(percent_decode_str(password));
    let whole = Secret::new(whole);
    if whole.expose().iter().any(u8::is_ascii_control) {
        return Err(illegal("user and password must not have control characters (RFC 7617)"));
    }
    Ok(whole)
}

/// Conceals the text of `target.proxy` if there may be a password in it.
pub(super) fn conceal(node: &Node, diagnostics: &mut Diagnostics) {
    match &node.value {
        Value::Text(text) if may_hold_password(text) => diagnostics.conceal(inside_quotes(node.origin)),
        Value::Array(elements) => elements.iter().for_each(|element| conceal(element, diagnostics)),
        Value::Table(entries) => entries.iter().for_each(|entry| conceal(&entry.node, diagnostics)),
        _ => {}
    }
}

/// In a file the quotes stay, so that the line still reads as TOML.
fn inside_quotes(mut origin: Origin) -> Origin {
    if let Some(span) = &mut origin.span
        && origin.source == SourceId::FILE
        && span.end >= span.start + 2
    {
        span.start += 1;
        span.end -= 1;
    }
    origin
}

/// Whether a password, or what may be a token in place of a user, is written out.
fn has_literal_password(text: &Text) -> bool {
    let written = without_variables(text.shown());
    let Some((credentials, _)) = written.rsplit_once('@') else { return false };
    let credentials = credentials.split_once("://").map_or(credentials, |(_, rest)| rest);
    match credentials.split_once(':') {
        Some((_, password)) => password.contains(|c| c != VARIABLE),
        None => credentials.contains(|c| c != VARIABLE),
    }
}

/// The same for a text that is not the address of a proxy: when in doubt, it may.
fn may_hold_password(text: &Text) -> bool {
    let written = without_variables(text.shown());
    if written.contains('@') {
        return has_literal_password(text);
    }
    let place = written.split_once("://").map_or(written.as_str(), |(_, rest)| rest);
    let port = place.rsplit_once(':').map_or("", |(_, port)| port);
    // `user:password` without the rest looks like a host with its port.
    port.contains(|c: char| !c.is_ascii_digit() && !matches!(c, VARIABLE | '/'))
}

fn without_variables(text: &str) -> String {
    let (mut plain, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, tail)) = rest.split_once("${env:") {
        let Some((_, tail)) = tail.split_once('}') else { break };
        plain.push_str(before);
        plain.push(VARIABLE);
        rest = tail;
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str, written: Option<&str>) -> Result<Proxy, Refusal> {
        let text = Text { value: value.to_owned(), written: written.map(str::to_owned) };
        check(&text, SourceId::FILE)
    }

    fn proxy(place: &str, credentials: Option<&str>) -> Proxy {
        let credentials = credentials.map(|credentials| Secret::new(credentials.as_bytes().to_vec()));
        Proxy::new(Endpoint::parse(place, 0).expect(place), credentials.as_ref())
    }

    #[test]
    fn addresses_of_proxies_are_read() {
        for (value, written, place, credentials) in [
            ("http://Proxy.example:3128", None, "proxy.example:3128", None),
            ("HTTP://[::1]:8080/", None, "[::1]:8080", None),
            ("http://@p:1", None, "p:1", None),
            ("http://u:p@p:1", Some("http://${env:U}:${env:P}@p:1"), "p:1", Some("u:p")),
            ("http://u:p@p:1", Some("http://u:${env:P}@p:1"), "p:1", Some("u:p")),
            ("http://u:p@p:1", Some("${env:PROXY}"), "p:1", Some("u:p")),
            ("http://u:p@p:1", Some("http://${env:BOTH}@${env:PLACE}"), "p:1", Some("u:p")),
            ("http://u:@p:1", Some("http://u:@p:1"), "p:1", Some("u:")),
            ("http://u@p:1", Some("http://${env:U}@p:1"), "p:1", Some("u:")),
            // Whatever a password has, and what is encoded in it.
            ("http://u:a:b@c/d?#@p:1", Some("http://u:${env:P}@p:1"), "p:1", Some("u:a:b@c/d?#")),
            ("http://u:%40%3A%zz@p:1", Some("http://u:${env:P}@p:1"), "p:1", Some("u:@:%zz")),
        ] {
            assert_eq!(read(value, written), Ok(proxy(place, credentials)), "{value} {written:?}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_with_its_reason_and_without_its_text() {
        for (value, written, reason) in [
            ("proxy:3128", None, "has no scheme"),
            ("sEcReT:sEcReT@proxy:3128", None, "has no scheme"),
            ("https://proxy:3128", None, "with `https://`"),
            ("SOCKS5H://proxy:1080", None, "with `socks5h://`"),
            ("sEcReT://proxy:1080", None, "of this scheme"),
            ("http://user:sEcReT@proxy:3128", None, "into a file that is kept and shared"),
            ("http://sEcReT@proxy:3128", None, "into a file that is kept and shared"),
            ("http://u:sEcReT1@p:1", Some("http://u:sEcReT${env:P}@p:1"), "a part of the password"),
            ("http://u:1sEcReT@p:1", Some("http://${env:U}:${env:P}sEcReT@p:1"), "a part of the password"),
            ("http://u:sEcReT@p:1", Some("http://${env:U}sEcReT@p:1"), "a part of the password"),
            ("http://u:sEcReT@p", Some("${env:PROXY}"), "has no port"),
            ("http://u:sEcReT@p:1/sEcReT", Some("${env:PROXY}"), "has no path"),
            ("http://u:sEcReT@p:0", Some("${env:PROXY}"), "no legal host"),
            ("http://u:sEcReT", None, "no legal host"),
            ("http://", None, "no legal host"),
            ("http://a b:1", None, "no legal host"),
            ("http://a%0d%0a:sEcReT@p:1", Some("${env:PROXY}"), "control characters"),
            ("http://a%3ab:sEcReT@p:1", Some("${env:PROXY}"), "with a colon"),
        ] {
            let refusal = read(value, written).expect_err(value);
            assert!(refusal.message.contains(reason), "{value}: {refusal:?}");
            assert!(refusal.help.is_some() && !format!("{refusal:?}").contains("sEcReT"), "{refusal:?}");
        }
    }
}
