//! Who the devices are that a thread starts, one after another.

use std::rc::Rc;

use super::DeviceKeys;
use crate::azure::keys::{DeviceKey, GroupKey};
use crate::device::world::{Identity, Key};
use crate::list::{self, ListError, Row, Rows};
use crate::plan::{IdPattern, Plan, Population, Roster, SignWith};

/// Walks a population's devices in ascending order. Holds one row of a list, and no device that has passed.
pub(super) struct Walk<'a> {
    who: Who<'a>,
    signs: Signs<'a>,
    run_id: &'a str,
    seed: u64,
    secondary: bool,
}

enum Who<'a> {
    Numbered(&'a IdPattern),
    Listed { rows: Box<Rows>, passed: u64 },
}

enum Signs<'a> {
    Derived(Rc<GroupKey>),
    Own { key: &'a DeviceKey, device_id: Option<&'a str> },
    Listed,
}

impl<'a> Walk<'a> {
    /// A walk over `population`, whose enrollment's keys are `keys`.
    ///
    /// # Errors
    /// [`ListError`] when its list is gone or was changed.
    pub(super) fn new(
        plan: &'a Plan,
        population: &'a Population,
        keys: &'a DeviceKeys,
    ) -> Result<Self, ListError> {
        Ok(Self {
            who: match &population.roster {
                Roster::Pattern(pattern) => Who::Numbered(pattern),
                Roster::List(list) => Who::Listed { rows: Box::new(list.rows()?), passed: 0 },
            },
            signs: match keys {
                DeviceKeys::Group(key) => Signs::Derived(Rc::new(key.clone())),
                DeviceKeys::Individual { key, device_id } => {
                    Signs::Own { key, device_id: device_id.as_deref() }
                }
                DeviceKeys::Listed => Signs::Listed,
            },
            run_id: &plan.run_id,
            seed: plan.seed,
            secondary: population.sign_with == SignWith::Secondary,
        })
    }

    /// Device `n`, which is not before the last that was asked for; `None` if the list has no such row any more.
    ///
    /// # Errors
    /// [`ListError`] when the list cannot be read any more.
    pub(super) fn device(&mut self, n: u64) -> Result<Option<Identity>, ListError> {
        let row = match &mut self.who {
            Who::Numbered(pattern) => {
                let registration_id = pattern.render(n, self.run_id);
                Row { registration_id, device_id: None, key: None, secondary_key: None }
            }
            Who::Listed { rows, passed } => {
                rows.skip_rows(n.saturating_sub(*passed))?;
                *passed = n + 1;
                match rows.next() {
                    Some(row) => row?,
                    None => return Ok(None),
                }
            }
        };
        let key = match &self.signs {
            Signs::Derived(group) => Key::Derived(Rc::clone(group)),
            Signs::Own { key, .. } => Key::Own((*key).clone()),
            Signs::Listed => {
                let listed = if self.secondary { row.secondary_key } else { row.key };
                let key = listed.unwrap_or_else(|| list::generated_key(self.seed, &row.registration_id));
                // Checked before the run: what is no key now was changed since.
                let key = DeviceKey::from_base64(key.expose_text().unwrap_or("\u{fffd}")).ok();
                match key {
                    Some(key) => Key::Own(key),
                    None => return Ok(None),
                }
            }
        };
        let device_id = match &self.signs {
            Signs::Own { device_id, .. } => device_id.map(Into::into),
            _ => row.device_id.map(String::into_boxed_str),
        };
        Ok(Some(Identity { registration_id: row.registration_id, device_id, key }))
    }
}
