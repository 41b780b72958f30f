//! Why a hub may have closed an MQTT connection. MQTT 3.1.1 has no way to say it: a hub that throttles, is out of quota or
//! has another connection of the same device just ends the connection. What was seen before tells which is likely.

use crate::step::{Cause, Class};

/// Closed connections in a row from which on chance is no likely reason.
const IN_A_ROW: u32 = 3;

/// What a device has seen of connections that the hub closed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Suspicion {
    /// In a row, with messages sent and not one confirmed.
    unconfirmed: u32,
    /// In a row, with nothing sent that was not confirmed.
    idle: u32,
}

/// A connection that is gone.
#[derive(Debug, Clone, Copy)]
pub struct Gone {
    /// What ended it.
    pub class: Class,
    /// Whether messages were sent and not confirmed.
    pub awaits_confirmation: bool,
    /// Whether a message was confirmed on it.
    pub confirmed_any: bool,
}

impl Suspicion {
    /// Takes note of a connection that is gone, and says why its unconfirmed messages are unknown.
    pub fn of(&mut self, gone: Gone) -> Cause {
        if gone.class != Class::Closed {
            *self = Self::default();
            return Cause::ConnectionLost;
        }
        if !gone.awaits_confirmation {
            self.idle += 1;
            self.unconfirmed = 0;
            return Cause::ConnectionLost;
        }
        let idle = std::mem::take(&mut self.idle);
        self.unconfirmed = if gone.confirmed_any { 0 } else { self.unconfirmed + 1 };
        if self.unconfirmed >= IN_A_ROW {
            Cause::Quota
        } else if idle >= IN_A_ROW {
            // Whoever takes over does not wait for a message to be under way.
            self.idle = idle;
            Cause::Takeover
        } else {
            Cause::Throttle
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn causes(seen: &[(Class, bool, bool)]) -> Vec<Cause> {
        let mut suspicion = Suspicion::default();
        let gone =
            |(class, awaits_confirmation, confirmed_any)| Gone { class, awaits_confirmation, confirmed_any };
        seen.iter().map(|seen| suspicion.of(gone(*seen))).collect()
    }

    #[test]
    fn a_close_with_messages_under_way_is_a_throttle_and_a_reset_is_the_network() {
        let seen = [(Class::Closed, true, true), (Class::Reset, true, true), (Class::NoAnswer, true, false)];
        assert_eq!(causes(&seen), [Cause::Throttle, Cause::ConnectionLost, Cause::ConnectionLost]);
    }

    #[test]
    fn connections_that_end_again_and_again_before_any_confirmation_are_out_of_quota() {
        let cut = (Class::Closed, true, false);
        let seen = [(Class::Closed, true, true), cut, cut, cut, (Class::Closed, true, true)];
        let expected = [Cause::Throttle, Cause::Throttle, Cause::Throttle, Cause::Quota, Cause::Throttle];
        assert_eq!(causes(&seen), expected);
    }

    #[test]
    fn connections_that_end_again_and_again_while_idle_are_taken_over() {
        let idle = (Class::Closed, false, true);
        let cut = (Class::Closed, true, true);
        let expected = [[Cause::ConnectionLost; 3].as_slice(), &[Cause::Takeover; 2]].concat();
        assert_eq!(causes(&[idle, idle, idle, cut, cut]), expected);
    }
}
