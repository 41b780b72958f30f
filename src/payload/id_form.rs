//! Message ids from which the number of the message can be read back.

use serde::{Deserialize, Serialize};

/// What the message ids of one kind of message look like: a text before the number of the message, and one behind it, each the
/// same in all messages of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdForm {
    before: Vec<Piece>,
    after: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Piece {
    Text(String),
    /// The device's id at the hub.
    DeviceId,
}

/// What a part of a template is to an [`IdForm`].
pub(super) enum Known<'a> {
    Text(&'a str),
    DeviceId,
    Sequence,
}

impl IdForm {
    /// The form of ids that are made of `parts`; `None` unless exactly one of them is the number of the message.
    pub(super) fn of<'a>(parts: impl IntoIterator<Item = Known<'a>>) -> Option<Self> {
        let (mut before, mut after) = (Vec::new(), None);
        for part in parts {
            let piece = match part {
                Known::Text(text) => Piece::Text(text.to_owned()),
                Known::DeviceId => Piece::DeviceId,
                Known::Sequence if after.is_none() => {
                    after = Some(Vec::new());
                    continue;
                }
                Known::Sequence => return None,
            };
            after.as_mut().unwrap_or(&mut before).push(piece);
        }
        after.map(|after| Self { before, after })
    }

    /// The number of the message of `device_id` that has `id`, from 1; `None` if that is no id of this form.
    pub fn sequence(&self, device_id: &str, mut id: &str) -> Option<u32> {
        fn text<'a>(piece: &'a Piece, device_id: &'a str) -> &'a str {
            match piece {
                Piece::Text(text) => text,
                Piece::DeviceId => device_id,
            }
        }
        for piece in &self.before {
            id = id.strip_prefix(text(piece, device_id))?;
        }
        for piece in self.after.iter().rev() {
            id = id.strip_suffix(text(piece, device_id))?;
        }
        // As numbers are rendered: no sign, no zero in front.
        let is_rendered = id.bytes().all(|byte| byte.is_ascii_digit()) && !id.starts_with('0');
        id.parse().ok().filter(|_| is_rendered)
    }
}

#[cfg(test)]
mod tests {
    use crate::payload::{Longest, Payload, Payloads};

    const LONGEST: Longest<'_> = Longest { device_id: 20, registration_id: 20, population: "halls" };

    fn payload(id: &str) -> Payload {
        let mut payload = Payload::default();
        payload.set_message_id(id, LONGEST).expect("an id");
        payload
    }

    fn number(template: &str, id: &str) -> Option<u32> {
        let forms = Payloads::from(payload(template)).id_forms("0badcafe", "halls").expect("it has a form");
        assert_eq!(forms.len(), 1);
        forms[0].sequence("7a", id)
    }

    #[test]
    fn the_number_of_a_message_is_read_from_its_id_and_from_no_other() {
        for (template, id, expected) in [
            ("${run}-${seq}", "0badcafe-17", Some(17)),
            ("${run}-${seq}", "0badcaff-17", None),
            ("${run}-${seq}", "0badcafe-", None),
            ("${run}-${seq}", "0badcafe-0", None),
            ("${run}-${seq}", "0badcafe-017", None),
            ("${run}-${seq}", "0badcafe-+17", None),
            ("${run}-${seq}", "0badcafe-4294967295", Some(u32::MAX)),
            ("${run}-${seq}", "0badcafe-4294967296", None),
            ("${run}-${seq}", "0badcafe-1\u{661}", None),
            ("${run}-${seq}", "", None),
            // The text around the number may be digits as well.
            ("${seq}${device_id}", "17a", Some(1)),
            ("${seq}${device_id}", "177a", Some(17)),
            ("1${seq}1", "1111", Some(11)),
            ("1${seq}1", "11", None),
            ("${population}:${device_id}#${seq}", "halls:7a#3", Some(3)),
        ] {
            assert_eq!(number(template, id), expected, "{template} {id}");
        }
    }

    #[test]
    fn ids_that_chance_or_the_clock_has_a_part_in_have_no_form() {
        for template in [
            "${uuid}",
            "x",
            "${run}-${seq}-${seq}",
            "${seq}-${int(1, 9)}",
            "${now(unix_ns)}-${seq}",
            "${n}-${seq}",
        ] {
            let payloads = Payloads::weighted([(1, Payload::default()), (1, payload(template))]);
            assert_eq!(payloads.id_forms("0badcafe", "halls"), None, "{template}");
        }
    }

    #[test]
    fn kinds_with_equal_ids_have_one_form() {
        let payloads = Payloads::weighted([
            (1, Payload::default()),
            (5, payload("${run}-${seq}")),
            (1, payload("x${seq}")),
        ]);
        assert_eq!(payloads.id_forms("0badcafe", "halls").map(|forms| forms.len()), Some(2));
    }
}
