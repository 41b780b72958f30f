//! Fields of the channel's lines: text of strangers, and what arrived of a device.

use std::fmt::Write as _;

use super::LineError;
use crate::emulator::arrivals::Arrived;
use crate::record::Marks;
use crate::record::marks::Run;

/// Which messages of one device arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrivedLine {
    /// The device.
    pub device_id: String,
    /// What arrived of it.
    pub arrived: Arrived,
}

impl ArrivedLine {
    /// Reads the fields of a line.
    pub(super) fn parse(fields: &str) -> Result<Self, LineError> {
        let error = || LineError::new("a device's messages are not told as they should be");
        let mut fields = fields.split('\t');
        let mut next = || fields.next().ok_or_else(error);
        let (device, foreign, runs) = (next()?, next()?, next()?);
        if fields.next().is_some() {
            return Err(error());
        }
        let run = |text: &str| {
            let (last, mark) = text.split_once('*')?;
            Some(Run { last: last.parse().ok()?, mark: mark.parse().ok()? })
        };
        let marks = match runs {
            "-" => Some(Marks::given_up()),
            "" => Some(Marks::default()),
            runs if runs.bytes().filter(|byte| *byte == b',').count() < Marks::MAX_RUNS => {
                let runs: Option<Vec<_>> = runs.split(',').map(run).collect();
                runs.and_then(Marks::of_runs)
            }
            _ => None,
        };
        let foreign = foreign.parse().map_err(|_| error())?;
        let arrived = Arrived { marks: marks.ok_or_else(error)?, foreign };
        Ok(Self { device_id: unescape(device)?, arrived })
    }
}

/// Appends the line of one device: some 10 KB at most.
pub(in crate::emulator) fn write_arrived(device_id: &str, arrived: &Arrived, out: &mut String) {
    out.push_str("arrived ");
    escape(device_id, out);
    let _ = write!(out, "\t{}\t", arrived.foreign);
    match arrived.marks.runs() {
        None => out.push('-'),
        Some(runs) => {
            for (index, Run { last, mark }) in runs.iter().enumerate() {
                let comma = if index > 0 { "," } else { "" };
                let _ = write!(out, "{comma}{last}*{mark}");
            }
        }
    }
    out.push('\n');
}

/// Appends the text with whatever is not printable ASCII, and the backslash, as `\xNN`.
pub(super) fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'\\' => out.push_str("\\x5c"),
            0x20..=0x7e => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
}

/// The reverse of [`escape`].
pub(super) fn unescape(text: &str) -> Result<String, LineError> {
    let error = || LineError::new("a field is not escaped as it should be");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = match (first, tail) {
            (b'\\', [b'x', high, low, tail @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).ok_or_else(error);
                bytes.push((digit(high)? * 16 + digit(low)?) as u8);
                tail
            }
            (0x20..=0x7e, tail) if *first != b'\\' => {
                bytes.push(*first);
                tail
            }
            _ => return Err(error()),
        };
    }
    String::from_utf8(bytes).map_err(|_| error())
}
