//! What is printed for a device, as text, CSV or JSON: bytes in a buffer, no I/O.

use clap::ValueEnum;
use zeroize::Zeroizing;

use crate::azure::keys::{DeviceKey, GroupKey, SigningKey};
use crate::azure::sas::{self, REGISTRATION_POLICY, ResourceSpelling};
use crate::time::UnixTime;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// ID, a tab and the value; for a single ID argument the value alone
    Text,
    /// With a header; exact values, so a spreadsheet must import them as text
    Csv,
    /// A JSON object a line
    Jsonl,
}

/// What is wanted of each device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// Its key in base64.
    Key,
    /// A token for DPS.
    SasDps { id_scope: String, expiry: UnixTime },
    /// A token for its hub.
    SasHub { host: String, expiry: UnixTime },
    /// A connection string for its hub.
    ConnectionString { host: String },
}

impl Value {
    /// The name of the column or member.
    const fn name(&self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::SasDps { .. } | Self::SasHub { .. } => "sas",
            Self::ConnectionString { .. } => "connection_string",
        }
    }
}

/// A device: who it is, and where its key comes from.
#[derive(Debug)]
pub(super) struct Device<'a> {
    pub(super) registration_id: &'a str,
    /// Its id at the hub, if that is another.
    pub(super) device_id: Option<&'a str>,
    pub(super) key: KeyOf<'a>,
}

impl Device<'_> {
    fn hub_id(&self) -> &str {
        self.device_id.unwrap_or(self.registration_id)
    }
}

/// Where the key of a device comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum KeyOf<'a> {
    /// Derived from the group's.
    Group(&'a GroupKey),
    /// Its own.
    Own(&'a DeviceKey),
}

impl KeyOf<'_> {
    fn push_base64(self, registration_id: &str, out: &mut Vec<u8>) {
        match self {
            Self::Group(group) => {
                let mut text = Zeroizing::new([0; 44]);
                group.derive_base64_into(registration_id, &mut text);
                out.extend_from_slice(text.as_slice());
            }
            Self::Own(key) => out.extend_from_slice(key.to_base64().expose()),
        }
    }

    fn signing(self, registration_id: &str) -> SigningKey {
        match self {
            Self::Group(group) => group.derive(registration_id).signing(),
            Self::Own(key) => key.signing(),
        }
    }
}

/// Writes the line of one device after another.
#[derive(Debug)]
pub(super) struct Lines {
    value: Value,
    format: Format,
    /// Text without the id.
    bare: bool,
    /// CSV and JSON name the device id as well.
    device_ids: bool,
    scratch: Zeroizing<Vec<u8>>,
}

impl Lines {
    pub(super) fn new(value: Value, format: Format, bare: bool, device_ids: bool) -> Self {
        Self { value, format, bare, device_ids, scratch: Zeroizing::new(Vec::with_capacity(LONGEST)) }
    }

    /// What stands before the first line.
    pub(super) fn header(&self, out: &mut Vec<u8>) {
        if self.format == Format::Csv {
            let device_id = if self.device_ids { "device_id," } else { "" };
            out.extend_from_slice(format!("registration_id,{device_id}{}\n", self.value.name()).as_bytes());
        }
    }

    /// The line of `device`, put behind what is in `out`. Allocates nothing for keys of a group in text form.
    pub(super) fn push(&mut self, device: &Device<'_>, out: &mut Vec<u8>) {
        self.scratch.clear();
        self.push_value(device);
        let value = self.scratch.as_slice();
        match self.format {
            Format::Text => {
                if !self.bare {
                    out.extend_from_slice(device.registration_id.as_bytes());
                    out.push(b'\t');
                }
                out.extend_from_slice(value);
            }
            Format::Csv => {
                push_field(device.registration_id.as_bytes(), out);
                out.push(b',');
                if self.device_ids {
                    push_field(device.hub_id().as_bytes(), out);
                    out.push(b',');
                }
                push_field(value, out);
            }
            Format::Jsonl => {
                out.extend_from_slice(b"{\"registration_id\":");
                push_json(device.registration_id.as_bytes(), out);
                if self.device_ids {
                    out.extend_from_slice(b",\"device_id\":");
                    push_json(device.hub_id().as_bytes(), out);
                }
                out.extend_from_slice(b",\"");
                out.extend_from_slice(self.value.name().as_bytes());
                out.extend_from_slice(b"\":");
                push_json(value, out);
                out.push(b'}');
            }
        }
        out.push(b'\n');
    }

    fn push_value(&mut self, device: &Device<'_>) {
        let out = &mut *self.scratch;
        let token = |resource: &str, expiry: UnixTime, policy| {
            let key = device.key.signing(device.registration_id);
            sas::token(&key, resource, ResourceSpelling::default(), expiry, policy)
        };
        match &self.value {
            Value::Key => device.key.push_base64(device.registration_id, out),
            Value::SasDps { id_scope, expiry } => {
                let resource = sas::dps_resource(id_scope, device.registration_id);
                out.extend_from_slice(token(&resource, *expiry, Some(REGISTRATION_POLICY)).expose());
            }
            Value::SasHub { host, expiry } => {
                let resource = sas::hub_resource(host, device.hub_id());
                out.extend_from_slice(token(&resource, *expiry, None).expose());
            }
            Value::ConnectionString { host } => {
                for part in ["HostName=", host, ";DeviceId=", device.hub_id(), ";SharedAccessKey="] {
                    out.extend_from_slice(part.as_bytes());
                }
                device.key.push_base64(device.registration_id, out);
            }
        }
    }
}

/// More than the longest value: a token with every character of host and id percent-encoded.
const LONGEST: usize = 2_048;

/// A CSV field, in quotes if it holds what could be taken for a separator, or begins like a formula. Nothing is put before
/// a formula's sign: one key in 64 begins with `+`, and with an apostrophe it would be another key.
fn push_field(field: &[u8], out: &mut Vec<u8>) {
    let separates = |byte: &u8| matches!(byte, b',' | b';' | b'"' | b'\t' | b'\r' | b'\n');
    let formula = field.first().is_some_and(|byte| b"=+-@".contains(byte));
    if !formula && !field.iter().any(separates) {
        out.extend_from_slice(field);
        return;
    }
    out.push(b'"');
    for byte in field {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

fn push_json(text: &[u8], out: &mut Vec<u8>) {
    let text = std::str::from_utf8(text).expect("ids, keys and tokens are ASCII");
    serde_json::to_writer(out, text).expect("a string can be written into memory");
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: &str =
        "sbDDeEzRuEuGKag+kQKV+T1QGakRtHpsERLP0yPjwR93TrpEgEh/Y07CXstfha6dhIPWvdD1nRxK5T0KGKA+nQ==";
    const EXPIRY: UnixTime = UnixTime::from_nanos(1_700_000_000_000_000_000);

    fn line(mut lines: Lines, registration_id: &str, device_id: Option<&str>) -> String {
        let group = GroupKey::from_base64(GROUP).expect("a key");
        let mut out = Vec::new();
        lines.header(&mut out);
        lines.push(&Device { registration_id, device_id, key: KeyOf::Group(&group) }, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_key_is_written_in_each_format() {
        let key = "6XlKKXn6+el9TMZMs43zlkwCzov8qZTkdzjF3YtPGeA=";
        for (format, bare, device_ids, expected) in [
            (Format::Text, true, false, format!("{key}\n")),
            (Format::Text, false, true, format!("a\t{key}\n")),
            (Format::Csv, false, false, format!("registration_id,key\na,{key}\n")),
            (Format::Csv, false, true, format!("registration_id,device_id,key\na,\"=x(1,2)\",{key}\n")),
            (Format::Jsonl, false, false, format!("{{\"registration_id\":\"a\",\"key\":\"{key}\"}}\n")),
            (
                Format::Jsonl,
                false,
                true,
                format!("{{\"registration_id\":\"a\",\"device_id\":\"=x(1,2)\",\"key\":\"{key}\"}}\n"),
            ),
        ] {
            assert_eq!(
                line(Lines::new(Value::Key, format, bare, device_ids), "a", Some("=x(1,2)")),
                expected
            );
        }
    }

    #[test]
    fn what_goes_to_the_hub_names_the_device_id_and_what_goes_to_dps_the_registration_id() {
        let host = || "hub1.azure-devices.net".to_owned();
        let with = |value| line(Lines::new(value, Format::Text, true, false), "reg", Some("dev"));
        let dps = with(Value::SasDps { id_scope: "0ne00000A0A".into(), expiry: EXPIRY });
        assert!(dps.starts_with("SharedAccessSignature sr=0ne00000A0A%2Fregistrations%2Freg&sig="), "{dps}");
        assert!(dps.ends_with("&se=1700000000&skn=registration\n"), "{dps}");
        let hub = with(Value::SasHub { host: host(), expiry: EXPIRY });
        assert!(hub.starts_with("SharedAccessSignature sr=hub1.azure-devices.net%2Fdevices%2Fdev&"), "{hub}");
        assert!(hub.ends_with("&se=1700000000\n"), "{hub}");
        let key = with(Value::Key);
        assert_eq!(
            with(Value::ConnectionString { host: host() }),
            format!("HostName=hub1.azure-devices.net;DeviceId=dev;SharedAccessKey={key}")
        );
    }

    #[test]
    fn fields_that_could_be_misread_are_quoted_and_unchanged() {
        let field = |text: &str| {
            let mut out = Vec::new();
            push_field(text.as_bytes(), &mut out);
            String::from_utf8(out).expect("text")
        };
        for (text, expected) in [
            ("a-1", "a-1"),
            ("-a", "\"-a\""),
            ("+/x=", "\"+/x=\""),
            ("=x", "\"=x\""),
            ("@x", "\"@x\""),
            ("a,b", "\"a,b\""),
            ("a;b", "\"a;b\""),
            ("a\"b", "\"a\"\"b\""),
        ] {
            assert_eq!(field(text), expected);
        }
    }

    #[test]
    fn no_value_is_longer_than_the_room_for_it() {
        let (long, scope) = ("-".repeat(128), "x".repeat(64));
        let host = format!("{}:65535", "-".repeat(253));
        for value in [
            Value::SasDps { id_scope: scope, expiry: EXPIRY },
            Value::SasHub { host: host.clone(), expiry: EXPIRY },
            Value::ConnectionString { host },
        ] {
            assert!(line(Lines::new(value, Format::Text, true, false), &long, Some(&long)).len() < LONGEST);
        }
    }
}
