//! Published quotas of DPS and IoT Hub that a run is held against.
//!
//! Sources: <https://learn.microsoft.com/azure/iot-dps/about-iot-dps#quotas-and-limits>,
//! <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-quotas-throttling>; as of 2024-03.

use serde::{Deserialize, Serialize};

/// Device registrations a minute of one DPS instance; adjustable by a support request.
pub const DPS_REGISTRATIONS_PER_MINUTE: u64 = 1_000;

/// Hubs that one DPS can be linked to.
pub const DPS_LINKED_HUBS: usize = 50;

/// Polls of one device's operation in [`DPS_POLL_WINDOW_SECONDS`].
pub const DPS_POLLS_PER_WINDOW: u32 = 5;

/// See [`DPS_POLLS_PER_WINDOW`].
pub const DPS_POLL_WINDOW_SECONDS: u64 = 10;

/// Size of a hub: what it costs and what it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Tier {
    /// Free; one hub of one unit per subscription.
    F1,
    /// Basic, small.
    B1,
    /// Basic, medium.
    B2,
    /// Basic, large.
    B3,
    /// Standard, small.
    S1,
    /// Standard, medium.
    S2,
    /// Standard, large.
    S3,
}

impl Tier {
    /// All, the cheapest first.
    pub const ALL: [Self; 7] = [Self::F1, Self::B1, Self::S1, Self::B2, Self::S2, Self::B3, Self::S3];

    /// Names as the portal writes them, in the order of [`Self::ALL`].
    pub const NAMES: [&'static str; 7] = ["F1", "B1", "S1", "B2", "S2", "B3", "S3"];

    /// As the portal writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F1 => "F1",
            Self::B1 => "B1",
            Self::B2 => "B2",
            Self::B3 => "B3",
            Self::S1 => "S1",
            Self::S2 => "S2",
            Self::S3 => "S3",
        }
    }

    /// The tier of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.name() == name)
    }

    /// The most units that one hub may have.
    pub const fn max_units(self) -> u32 {
        match self {
            Self::F1 => 1,
            Self::B1 | Self::S1 | Self::B2 | Self::S2 => 200,
            Self::B3 | Self::S3 => 10,
        }
    }

    /// New device connections a second that a hub of `units` admits; reconnects for a new token count.
    pub const fn connects_per_second(self, units: u32) -> f64 {
        match self {
            Self::F1 | Self::B1 | Self::S1 => {
                let by_units = 12.0 * units as f64;
                if by_units > 100.0 { by_units } else { 100.0 }
            }
            Self::B2 | Self::S2 => 120.0 * units as f64,
            Self::B3 | Self::S3 => 6_000.0 * units as f64,
        }
    }

    /// Telemetry sends a second that a hub of `units` admits: the same figures as for connections.
    pub const fn sends_per_second(self, units: u32) -> f64 {
        self.connects_per_second(units)
    }

    /// Metered messages that a hub of `units` takes in a UTC day.
    pub const fn messages_per_day(self, units: u32) -> u64 {
        let per_unit = match self {
            Self::F1 => 8_000,
            Self::B1 | Self::S1 => 400_000,
            Self::B2 | Self::S2 => 6_000_000,
            Self::B3 | Self::S3 => 300_000_000,
        };
        per_unit * units as u64
    }

    /// Whether it has twins, direct methods and messages from the cloud: basic tiers do not.
    pub const fn is_two_way(self) -> bool {
        !matches!(self, Self::B1 | Self::B2 | Self::B3)
    }

    /// Reads of twins a second that a hub of `units` admits, by devices and services together.
    pub const fn twin_reads_per_second(self, units: u32) -> f64 {
        match self.class() {
            0 => 100.0,
            1 => larger(100.0, 10.0 * units as f64),
            _ => 500.0 * units as f64,
        }
    }

    /// The same for updates.
    pub const fn twin_updates_per_second(self, units: u32) -> f64 {
        self.twin_reads_per_second(units) / 2.0
    }

    /// Direct methods a second that a hub of `units` admits, counted in pieces of [`METHOD_METER_BYTES`].
    pub const fn methods_per_second(self, units: u32) -> f64 {
        let kilobytes = match self.class() {
            0 => 160.0,
            1 => 480.0,
            _ => 24.0 * 1_024.0,
        };
        kilobytes * 1_024.0 / METHOD_METER_BYTES as f64 * units as f64
    }

    /// Messages to devices a minute that a hub of `units` takes; the same figures hold for calls of its registry.
    pub const fn devicebound_per_minute(self, units: u32) -> f64 {
        let per_unit = if self.class() == 2 { 5_000.0 } else { 100.0 };
        per_unit * units as f64
    }

    /// Requests of devices for such messages over HTTPS, a minute.
    pub const fn devicebound_receives_per_minute(self, units: u32) -> f64 {
        10.0 * self.devicebound_per_minute(units)
    }

    /// Small, medium or large.
    const fn class(self) -> u8 {
        match self {
            Self::F1 | Self::B1 | Self::S1 => 0,
            Self::B2 | Self::S2 => 1,
            Self::B3 | Self::S3 => 2,
        }
    }

    /// Bytes of payload and properties that count as one metered message.
    pub const fn meter_bytes(self) -> u64 {
        match self {
            Self::F1 => 512,
            _ => 4_096,
        }
    }

    /// What one message of `size` bytes (payload and properties) counts as; an empty one counts too.
    pub const fn metered(self, size: u64) -> u64 {
        let units = size.div_ceil(self.meter_bytes());
        if units == 0 { 1 } else { units }
    }
}

/// Bytes of a direct method, request or answer, that count as one.
pub const METHOD_METER_BYTES: u64 = 4_096;

const fn larger(one: f64, other: f64) -> f64 {
    if one > other { one } else { other }
}

/// A hub's tier and how many units of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubSize {
    /// Its tier.
    pub tier: Tier,
    /// From 1 to [`Tier::max_units`].
    pub units: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_the_published_tables() {
        assert_eq!(Tier::S1.connects_per_second(1), 100.0);
        assert_eq!(Tier::S1.connects_per_second(10), 120.0);
        assert_eq!(Tier::S2.connects_per_second(1), 120.0);
        assert_eq!(Tier::S3.sends_per_second(2), 12_000.0);
        assert_eq!(Tier::S2.messages_per_day(4), 24_000_000);
        assert_eq!((Tier::S1.metered(100), Tier::S1.metered(6_144), Tier::F1.metered(600)), (1, 2, 2));
        assert_eq!((Tier::S1.twin_reads_per_second(9), Tier::S2.twin_reads_per_second(20)), (100.0, 200.0));
        assert_eq!((Tier::F1.twin_updates_per_second(1), Tier::S3.twin_updates_per_second(2)), (50.0, 500.0));
        assert_eq!((Tier::S1.methods_per_second(2), Tier::S3.methods_per_second(1)), (80.0, 6_144.0));
        assert_eq!(
            (Tier::S2.devicebound_per_minute(3), Tier::S3.devicebound_per_minute(1)),
            (300.0, 5_000.0)
        );
        assert_eq!(Tier::S3.devicebound_receives_per_minute(1), 50_000.0);
        assert_eq!(Tier::ALL.map(Tier::is_two_way), [true, false, true, false, true, false, true]);
        assert_eq!(Tier::ALL.map(Tier::name), Tier::NAMES);
        assert_eq!(Tier::from_name("S2"), Some(Tier::S2));
        assert_eq!(Tier::from_name("s2"), None);
    }
}
