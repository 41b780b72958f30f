//! Individual enrollments that come from a list: as many as a file has rows, each in as few bytes as its texts take.

use std::sync::Arc;

use base64::Engine as _;
use zeroize::Zeroizing;

use crate::azure::keys::{BASE64, DeviceKey, KeyError, SigningKey};
use crate::list::{self, DeviceList, ListError, Row, id_hash};
use crate::text::Secret;

/// Where the enrollments of a list are.
#[derive(Debug, Clone)]
pub enum Listed {
    /// In the file; its rows are read when the emulator starts.
    File {
        /// The file.
        list: DeviceList,
        /// What keys are made from if it has none.
        seed: u64,
    },
    /// In memory.
    Store(Arc<Store>),
}

/// Rows of a list in memory: id, device id and keys of each as bytes, and 16 bytes to find them by. About 100 bytes for a
/// row with a key of 32 bytes.
#[derive(Default)]
pub struct Store {
    /// Per row: four lengths, and the texts and keys one after another. In pieces of [`PIECE`] bytes that are never moved:
    /// moving would take the memory twice, and leave the keys behind.
    pieces: Vec<Zeroizing<Vec<u8>>>,
    /// Hash of the registration id, case aside, and where the row begins; sorted once all are there.
    index: Vec<(u64, u64)>,
}

/// Bytes of a piece of a [`Store`]; the longest row has less than 512.
const PIECE: usize = 64 * 1024;

/// One row of a [`Store`].
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    /// Names the row.
    pub(super) at: u64,
    registration_id: &'a [u8],
    device_id: &'a [u8],
    primary: &'a [u8],
    secondary: &'a [u8],
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({} devices)", self.index.len())
    }
}

impl Listed {
    /// The rows in memory, read from the file if they are there.
    ///
    /// # Errors
    /// A text when the file cannot be read any more, or a key is none.
    pub(super) fn store(&self) -> Result<Arc<Store>, String> {
        match self {
            Self::Store(store) => Ok(Arc::clone(store)),
            Self::File { list, seed } => {
                let mut store = Store::default();
                for row in Self::file_rows(list, *seed).map_err(|error| error.to_string())? {
                    store
                        .push(&row.map_err(|error| error.to_string())?)
                        .map_err(|error| error.to_string())?;
                }
                store.sort();
                Ok(Arc::new(store))
            }
        }
    }

    /// The rows of a file, with keys made where it has none.
    ///
    /// # Errors
    /// [`ListError`] when it cannot be read any more.
    pub fn file_rows(
        list: &DeviceList,
        seed: u64,
    ) -> Result<impl Iterator<Item = Result<Row, ListError>>, ListError> {
        let has_keys = list.has_keys();
        Ok(list.rows()?.map(move |row| {
            row.map(|mut row| {
                if !has_keys {
                    row.key = Some(list::generated_key(seed, &row.registration_id));
                }
                row
            })
        }))
    }
}

impl Store {
    /// Adds a row.
    ///
    /// # Errors
    /// [`KeyError`] when a key is none.
    pub fn push(&mut self, row: &Row) -> Result<(), KeyError> {
        let decoded = |key: &Option<Secret>| match key {
            Some(key) => DeviceKey::from_base64(key.expose_text().unwrap_or("\u{fffd}")).map(Some),
            None => Ok(None),
        };
        let (primary, secondary) = (decoded(&row.key)?, decoded(&row.secondary_key)?);
        let bytes = |key| Option::map_or(key, [].as_slice(), DeviceKey::bytes);
        let (primary, secondary) = (bytes(primary.as_ref()), bytes(secondary.as_ref()));
        let device_id = row.device_id.as_deref().unwrap_or_default().as_bytes();
        let parts = [row.registration_id.as_bytes(), device_id, primary, secondary];
        let length = 4 + parts.iter().map(|part| part.len()).sum::<usize>();
        if self.pieces.last().is_none_or(|piece| PIECE - piece.len() < length) {
            self.pieces.push(Zeroizing::new(Vec::with_capacity(PIECE)));
        }
        let at = (self.pieces.len() - 1) * PIECE;
        let Some(piece) = self.pieces.last_mut() else { return Ok(()) };
        self.index.push((id_hash(&row.registration_id), (at + piece.len()) as u64));
        // Ids have 128 bytes at most and keys 64.
        piece.extend(parts.iter().map(|part| part.len() as u8));
        parts.iter().for_each(|part| piece.extend_from_slice(part));
        Ok(())
    }

    /// All rows are there: rows are found from now on.
    pub fn sort(&mut self) {
        self.index.sort_unstable();
        self.index.shrink_to_fit();
    }

    /// The registration id of one row of two that are for the same device.
    pub(super) fn duplicate(&self) -> Option<String> {
        self.index.windows(2).filter(|pair| pair[0].0 == pair[1].0).find_map(|pair| {
            let (one, two) = (self.row(pair[0].1), self.row(pair[1].1));
            one.registration_id
                .eq_ignore_ascii_case(two.registration_id)
                .then(|| String::from_utf8_lossy(two.registration_id).into_owned())
        })
    }

    /// The row for `registration_id`, case aside.
    pub(super) fn find(&self, registration_id: &str) -> Option<Found<'_>> {
        let hash = id_hash(registration_id);
        let first = self.index.partition_point(|(known, _)| *known < hash);
        self.index[first..]
            .iter()
            .take_while(|(known, _)| *known == hash)
            .map(|(_, at)| self.row(*at))
            .find(|found| found.registration_id.eq_ignore_ascii_case(registration_id.as_bytes()))
    }

    /// The row that [`Found::at`] names.
    pub(super) fn row(&self, at: u64) -> Found<'_> {
        let at_piece = at as usize;
        let (lengths, mut rest) = self.pieces[at_piece / PIECE][at_piece % PIECE..].split_at(4);
        let mut take = |part: usize| {
            let (taken, after) = rest.split_at(usize::from(lengths[part]));
            rest = after;
            taken
        };
        let (registration_id, device_id, primary, secondary) = (take(0), take(1), take(2), take(3));
        Found { at, registration_id, device_id, primary, secondary }
    }
}

impl<'a> Found<'a> {
    /// The device's id at the hub, where it is not the registration id.
    pub(super) fn device_id(self) -> Option<&'a str> {
        std::str::from_utf8(self.device_id).ok().filter(|id| !id.is_empty())
    }

    /// Its keys in base64; the first stands for a second that there is not.
    pub(super) fn key_texts(self) -> (Secret, Secret) {
        let text = |key: &[u8]| Secret::new(BASE64.encode(key).into_bytes());
        let secondary = if self.secondary.is_empty() { self.primary } else { self.secondary };
        (text(self.primary), text(secondary))
    }

    /// Its keys, prepared.
    pub(super) fn keys(self) -> (SigningKey, Option<SigningKey>) {
        let secondary = (!self.secondary.is_empty()).then(|| SigningKey::from_bytes(self.secondary));
        (SigningKey::from_bytes(self.primary), secondary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(registration_id: &str, device_id: Option<&str>) -> Row {
        Row {
            registration_id: registration_id.to_owned(),
            device_id: device_id.map(str::to_owned),
            key: Some(list::generated_key(7, registration_id)),
            secondary_key: None,
        }
    }

    #[test]
    fn rows_are_found_by_their_id_whatever_its_case() {
        let mut store = Store::default();
        for n in 0..1_000 {
            let device = format!("dev({n})");
            store
                .push(&row(&format!("Gateway-{n}"), (n % 2 == 0).then_some(device.as_str())))
                .expect("a key");
        }
        store.sort();
        let found = store.find("gateway-42").expect("is there");
        assert_eq!((found.device_id(), store.row(found.at).device_id()), (Some("dev(42)"), Some("dev(42)")));
        assert_eq!(store.find("GATEWAY-43").expect("is there").device_id(), None);
        assert!(store.find("gateway-1000").is_none());
        assert_eq!(store.duplicate(), None);
        store.push(&row("gateway-7", None)).expect("a key");
        store.sort();
        assert!(store.duplicate().is_some_and(|id| id.eq_ignore_ascii_case("gateway-7")));
    }

    #[test]
    fn a_row_with_a_key_of_32_bytes_takes_about_a_hundred() {
        let mut store = Store::default();
        for n in 0..10_000 {
            store.push(&row(&format!("gateway-{n:07}"), None)).expect("a key");
        }
        store.sort();
        let bytes = store.pieces.len() * PIECE + store.index.len() * 16;
        assert!(bytes / 10_000 < 100, "{} bytes a row", bytes / 10_000);
    }
}
