//! What came of reconciling message by message.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What came of holding the fleet's messages against those that the emulator accepted, one by one. The first three counts are 0
/// unless this program has a fault.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Messages {
    /// Devices whose messages were reconciled.
    pub devices: u64,
    /// Their messages that were due.
    pub messages: u64,
    /// Messages that were confirmed to the device, and that the emulator never accepted.
    pub lost: Unreconciled,
    /// Messages that the emulator accepted, and that were never sent: not sent, refused, or not even due.
    pub phantom: Unreconciled,
    /// Messages that the emulator accepted more often than they were sent, or that have two outcomes in the fleet's books.
    pub counted_twice: Unreconciled,
    /// Messages that went again after a connection was lost, and arrived more than once: no fault.
    pub arrived_again: u64,
    /// Messages that were written where no confirmation exists (MQTT, QoS 0), and did not arrive: no fault.
    pub written_not_arrived: u64,
    /// Messages whose outcome is unknown to the device, and that had arrived.
    pub unknown_arrived: u64,
    /// Messages that the emulator accepted with ids that are not of this run's form.
    pub not_ours: u64,
    /// A sentence for each part of the fleet of which only the totals were compared: why, and what to do.
    pub by_totals: Vec<String>,
}

/// Messages of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unreconciled {
    /// How many.
    pub count: u64,
    /// The first of them in the order of the scenario (and of shards), 20 at most.
    #[schemars(length(max = 20))]
    pub examples: Vec<MessageExample>,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageExample {
    /// Id of its device at the hub.
    pub device_id: String,
    /// Its number among the device's, from 1.
    pub sequence: u64,
}

impl Messages {
    /// Whether every message is where it should be.
    pub fn is_whole(&self) -> bool {
        [&self.lost, &self.phantom, &self.counted_twice].iter().all(|messages| messages.count == 0)
    }

    /// Adds what came of another part of the fleet.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (sum, one) in [
            (&mut self.devices, other.devices),
            (&mut self.messages, other.messages),
            (&mut self.arrived_again, other.arrived_again),
            (&mut self.written_not_arrived, other.written_not_arrived),
            (&mut self.unknown_arrived, other.unknown_arrived),
            (&mut self.not_ours, other.not_ours),
        ] {
            *sum = sum.saturating_add(one);
        }
        for (sum, one) in [
            (&mut self.lost, &other.lost),
            (&mut self.phantom, &other.phantom),
            (&mut self.counted_twice, &other.counted_twice),
        ] {
            sum.count = sum.count.saturating_add(one.count);
            let room = Unreconciled::EXAMPLES.saturating_sub(sum.examples.len());
            sum.examples.extend(one.examples.iter().take(room).cloned());
        }
        for sentence in &other.by_totals {
            if !self.by_totals.contains(sentence) {
                self.by_totals.push(sentence.clone());
            }
        }
    }
}

impl Unreconciled {
    /// The most examples that are kept.
    pub const EXAMPLES: usize = 20;

    /// Whether there are as many examples as there can be.
    pub(crate) fn is_consistent(&self) -> bool {
        self.examples.len() as u64 == self.count.min(Self::EXAMPLES as u64)
    }
}
