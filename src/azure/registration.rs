//! Registration ids and device ids: what the services accept.

/// The longest registration id and the longest device id, in characters.
pub const MAX_ID_LENGTH: usize = 128;

/// Why a text is not a registration id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// No characters at all.
    #[error("the id is empty; use 1 to 128 characters")]
    Empty,
    /// More than [`MAX_ID_LENGTH`] characters.
    #[error("the id has {length} characters; the service takes up to 128")]
    TooLong {
        /// Its characters.
        length: usize,
    },
    /// A character outside the alphabet.
    #[error(
        "character {position} ({character:?}) is not allowed; use letters, digits, `-`, `.`, `_` and `:`"
    )]
    Character {
        /// Where it stands, counted from 1.
        position: usize,
        /// The character.
        character: char,
    },
    /// Ends in `.`, `_` or `:`.
    #[error("the id ends in {character:?}; its last character must be a letter, a digit or `-`")]
    LastCharacter {
        /// The last character.
        character: char,
    },
}

/// Checks a registration id: 1 to 128 of letters, digits and `-._:`, the last a letter, a digit or `-`.
///
/// Ids are compared without case by the service, yet keys are derived from their exact bytes: lower case avoids trouble.
///
/// # Errors
/// [`IdError`] names the first rule broken.
///
/// Source: <https://learn.microsoft.com/azure/iot-dps/concepts-service#registration-id>
pub fn check_registration_id(id: &str) -> Result<(), IdError> {
    check(id, |c| c.is_ascii_alphanumeric() || "-._:".contains(c))?;
    match id.chars().next_back() {
        Some(last) if !last.is_ascii_alphanumeric() && last != '-' => {
            Err(IdError::LastCharacter { character: last })
        }
        _ => Ok(()),
    }
}

/// Checks a hub device id: 1 to 128 of ASCII letters, digits and ``-.%_#*?!(),:=@$'``; case counts.
///
/// # Errors
/// [`IdError`] names the first rule broken.
///
/// Source: <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-identity-registry>
pub fn check_device_id(id: &str) -> Result<(), IdError> {
    check(id, |c| c.is_ascii_alphanumeric() || "-.%_#*?!(),:=@$'".contains(c))
}

fn check(id: &str, allowed: impl Fn(char) -> bool) -> Result<(), IdError> {
    if id.is_empty() {
        return Err(IdError::Empty);
    }
    let length = id.chars().count();
    if length > MAX_ID_LENGTH {
        return Err(IdError::TooLong { length });
    }
    match id.chars().enumerate().find(|(_, c)| !allowed(*c)) {
        Some((index, character)) => Err(IdError::Character { position: index + 1, character }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_documentation_pass() {
        for id in ["symm-key-python-device-008", "dev:a.b_c-1", "a", "ABC-", &"x".repeat(128)] {
            assert_eq!(check_registration_id(id), Ok(()), "{id}");
        }
        assert_eq!(check_device_id("a%#*?!(),:=@$'_."), Ok(()));
    }

    #[test]
    fn every_broken_rule_is_named() {
        for (id, expected) in [
            ("", IdError::Empty),
            (&"x".repeat(129), IdError::TooLong { length: 129 }),
            ("a b", IdError::Character { position: 2, character: ' ' }),
            ("gerät", IdError::Character { position: 4, character: 'ä' }),
            ("a/b", IdError::Character { position: 2, character: '/' }),
            ("device.", IdError::LastCharacter { character: '.' }),
        ] {
            assert_eq!(check_registration_id(id), Err(expected), "{id}");
        }
    }
}
