//! A device's twin: tags, desired and reported properties, each changed by patches.
//!
//! A patch is a JSON object: what it names is set, `null` removes, objects are merged into objects (RFC 7386). Either all
//! of it is taken or nothing. What is kept is bounded by the hub's own limits, and a device that never had a twin has none
//! here: an empty one is worth nothing.
//!
//! Source: <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-device-twins>

use std::collections::BTreeMap;

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::config::InitialTwin;
use crate::azure::keys::BASE64;
use crate::time::UnixTime;

/// A twin. The default is the twin of a device that nobody has touched.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Twin {
    tags: Section,
    desired: Properties,
    reported: Properties,
    /// Counts every change.
    version: u64,
    /// Counts the changes that the service's side made: what `etag` names.
    edition: u64,
}

/// Desired or reported properties.
#[derive(Debug, Clone, PartialEq)]
struct Properties {
    section: Section,
    version: u64,
}

/// A part of a twin, with when each of its objects and values was changed last.
#[derive(Debug, Clone, PartialEq)]
struct Section {
    children: BTreeMap<Box<str>, Node>,
    updated: UnixTime,
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Object(Section),
    /// Anything but an object; in arrays nothing is merged.
    Leaf {
        value: Value,
        updated: UnixTime,
    },
}

/// What the service's side wants changed. What is `None` stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Change {
    pub(super) tags: Option<Map<String, Value>>,
    pub(super) desired: Option<Map<String, Value>>,
    /// The objects take the place of what there is, and are not merged into it.
    pub(super) is_whole: bool,
}

/// Why a twin is not changed; the text is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TwinError {
    /// The patch is no patch, or breaks a rule.
    Invalid(&'static str),
    /// The result would be larger than a twin may be.
    TooLarge(&'static str),
    /// The twin is another than the caller thinks.
    Changed,
}

/// Desired properties that changed: what their device is told.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DesiredUpdate {
    pub(super) version: u64,
    /// The patch as it came, with `$version`.
    pub(super) body: Vec<u8>,
}

impl TwinError {
    /// For people.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Invalid(text) | Self::TooLarge(text) => text,
            Self::Changed => "the twin has changed; read it again",
        }
    }
}

impl Default for Twin {
    fn default() -> Self {
        let properties = || Properties { section: Section::new(BEFORE_ALL), version: 1 };
        Self {
            tags: Section::new(BEFORE_ALL),
            desired: properties(),
            reported: properties(),
            version: 1,
            edition: 1,
        }
    }
}

impl Twin {
    /// The twin that an enrollment begins with; `None` if that is an empty one.
    ///
    /// # Errors
    /// [`TwinError`] if no twin may be so.
    pub(super) fn initial(initial: &InitialTwin, wall: UnixTime) -> Result<Option<Box<Self>>, TwinError> {
        if initial.tags.is_empty() && initial.desired.is_empty() {
            return Ok(None);
        }
        let mut twin = Self::default();
        twin.tags = twin.tags.merged(&initial.tags, TAGS, wall)?;
        twin.desired.section = twin.desired.section.merged(&initial.desired, DESIRED, wall)?;
        Ok(Some(Box::new(twin)))
    }

    /// What its device sees: both kinds of properties with their versions, in JSON. Tags are none of its business.
    pub(super) fn for_device(&self) -> Vec<u8> {
        let plain = |properties: &Properties| {
            let mut object = properties.section.value();
            object.insert("$version".to_owned(), properties.version.into());
            object
        };
        let twin = json!({ "desired": plain(&self.desired), "reported": plain(&self.reported) });
        twin.to_string().into_bytes()
    }

    /// Tags and properties as the service's side sees them, with metadata.
    pub(super) fn for_service(&self) -> (Map<String, Value>, Value) {
        let whole = |properties: &Properties| {
            let mut object = properties.section.value();
            object.insert("$metadata".to_owned(), properties.section.metadata());
            object.insert("$version".to_owned(), properties.version.into());
            object
        };
        let properties = json!({ "desired": whole(&self.desired), "reported": whole(&self.reported) });
        (self.tags.value(), properties)
    }

    /// Counts every change.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Names this edition of tags and desired properties. Whether the real hub's tag changes with reported properties too is
    /// unpublished; here it does not, so that a device that reports does not make a service's work void.
    pub(super) fn etag(&self) -> String {
        BASE64.encode(self.edition.to_be_bytes())
    }

    /// Merges what the device reports; the new version of its reported properties.
    ///
    /// # Errors
    /// [`TwinError`]; nothing is changed then.
    pub(super) fn report(&mut self, patch: &[u8], wall: UnixTime) -> Result<u64, TwinError> {
        let patch: Map<String, Value> =
            serde_json::from_slice(patch).map_err(|_| TwinError::Invalid("the body is no object in JSON"))?;
        self.reported.section = self.reported.section.merged(&patch, REPORTED, wall)?;
        self.reported.version += 1;
        self.version += 1;
        Ok(self.reported.version)
    }

    /// Changes tags and desired properties; what the device is to be told.
    ///
    /// * `if_match`: the etag that the caller expects, without quotes; `None` for any
    ///
    /// # Errors
    /// [`TwinError`]; nothing is changed then.
    pub(super) fn change(
        &mut self,
        change: &Change,
        if_match: Option<&str>,
        wall: UnixTime,
    ) -> Result<Option<DesiredUpdate>, TwinError> {
        if if_match.is_some_and(|expected| expected != self.etag()) {
            return Err(TwinError::Changed);
        }
        let empty = Section::new(wall);
        let base = |section| if change.is_whole { &empty } else { section };
        let tags = change.tags.as_ref().map(|tags| base(&self.tags).merged(tags, TAGS, wall)).transpose()?;
        let desired = change.desired.as_ref();
        let desired =
            desired.map(|patch| base(&self.desired.section).merged(patch, DESIRED, wall)).transpose()?;
        if let Some(tags) = tags {
            self.tags = tags;
        }
        self.version += 1;
        self.edition += 1;
        let Some(desired) = desired else { return Ok(None) };
        self.desired.section = desired;
        self.desired.version += 1;
        let version = self.desired.version;
        let mut body = change.desired.clone().unwrap_or_default();
        body.retain(|name, _| !is_read_only(name));
        body.insert("$version".to_owned(), version.into());
        Ok(Some(DesiredUpdate { version, body: Value::Object(body).to_string().into_bytes() }))
    }
}

/// What a part of a twin is called, and how large it may be.
#[derive(Clone, Copy)]
struct Limit {
    most: usize,
    too_large: &'static str,
}

const TAGS: Limit = Limit { most: 8 * 1024, too_large: "the tags would exceed 8 KB" };
const DESIRED: Limit = Limit { most: 32 * 1024, too_large: "the desired properties would exceed 32 KB" };
const REPORTED: Limit = Limit { most: 32 * 1024, too_large: "the reported properties would exceed 32 KB" };

impl Section {
    fn new(updated: UnixTime) -> Self {
        Self { children: BTreeMap::new(), updated }
    }

    /// A copy with the patch merged in.
    fn merged(&self, patch: &Map<String, Value>, limit: Limit, wall: UnixTime) -> Result<Self, TwinError> {
        // What a caller read it may send back; it is not for him to say.
        let plain = patch.iter().filter(|(name, _)| !is_read_only(name));
        plain.clone().try_for_each(|(name, value)| check(name, value, 1))?;
        let mut merged = self.clone();
        merged.merge(plain, wall);
        if merged.size() > limit.most { Err(TwinError::TooLarge(limit.too_large)) } else { Ok(merged) }
    }

    fn merge<'a>(&mut self, patch: impl Iterator<Item = (&'a String, &'a Value)>, wall: UnixTime) {
        self.updated = wall;
        for (name, value) in patch {
            match value {
                Value::Null => drop(self.children.remove(name.as_str())),
                Value::Object(patch) => {
                    let child = self.children.entry(name.as_str().into());
                    let child = child.or_insert_with(|| Node::Object(Self::new(wall)));
                    if let Node::Leaf { .. } = child {
                        *child = Node::Object(Self::new(wall));
                    }
                    if let Node::Object(section) = child {
                        section.merge(patch.iter(), wall);
                    }
                }
                value => {
                    let leaf = Node::Leaf { value: value.clone(), updated: wall };
                    self.children.insert(name.as_str().into(), leaf);
                }
            }
        }
    }

    fn value(&self) -> Map<String, Value> {
        let value = |node: &Node| match node {
            Node::Object(section) => Value::Object(section.value()),
            Node::Leaf { value, .. } => value.clone(),
        };
        self.children.iter().map(|(name, node)| (name.to_string(), value(node))).collect()
    }

    /// When it was changed, at every level: that is how a removal leaves a trace.
    fn metadata(&self) -> Value {
        let mut metadata: Map<String, Value> = self
            .children
            .iter()
            .map(|(name, node)| {
                let metadata = match node {
                    Node::Object(section) => section.metadata(),
                    Node::Leaf { updated, .. } => json!({ LAST_UPDATED: moment(*updated) }),
                };
                (name.to_string(), metadata)
            })
            .collect();
        metadata.insert(LAST_UPDATED.to_owned(), moment(self.updated).into());
        Value::Object(metadata)
    }

    fn size(&self) -> usize {
        let child = |node: &Node| match node {
            Node::Object(section) => section.size(),
            Node::Leaf { value, .. } => size(value),
        };
        self.children.iter().map(|(name, node)| length(name) + child(node)).sum()
    }
}

/// What a value counts as. An element of an array counts as if it had a key of [`ELEMENT`] bytes: the documentation says
/// nothing of arrays, and what is kept has to be bounded.
fn size(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => length(text),
        Value::Array(elements) => elements.iter().map(|element| ELEMENT + size(element)).sum(),
        Value::Object(object) => object.iter().map(|(name, value)| length(name) + size(value)).sum(),
    }
}

/// Characters without controls, as the documentation counts.
fn length(text: &str) -> usize {
    text.chars().filter(|c| !c.is_control()).count()
}

/// Whether a patch may have `value` under `name`, `depth` levels below the root.
fn check(name: &str, value: &Value, depth: usize) -> Result<(), TwinError> {
    if name.is_empty() || name.len() > MAX_KEY {
        return Err(TwinError::Invalid("a name is empty or longer than 1 KB"));
    }
    if name.contains(|c: char| c.is_control() || matches!(c, '.' | '$' | ' ')) {
        return Err(TwinError::Invalid("a name has a dot, a dollar, a space or a control character"));
    }
    check_value(value, depth)
}

fn check_value(value: &Value, depth: usize) -> Result<(), TwinError> {
    let is_nested = value.is_object() || value.is_array();
    if is_nested && depth > MAX_DEPTH {
        return Err(TwinError::Invalid("objects are nested more than 10 deep"));
    }
    match value {
        Value::String(text) if text.len() > MAX_TEXT => Err(TwinError::Invalid("a text is longer than 4 KB")),
        Value::Number(number) if !is_in_range(number) => {
            Err(TwinError::Invalid("an integer is outside of -4503599627370496 to 4503599627370495"))
        }
        Value::Object(object) => object.iter().try_for_each(|(name, value)| check(name, value, depth + 1)),
        Value::Array(elements) => elements.iter().try_for_each(|element| check_value(element, depth + 1)),
        _ => Ok(()),
    }
}

fn is_in_range(number: &serde_json::Number) -> bool {
    const LIMIT: i64 = 1 << 52;
    match number.as_i64() {
        Some(integer) => (-LIMIT..LIMIT).contains(&integer),
        None => number.is_f64(),
    }
}

fn is_read_only(name: &str) -> bool {
    matches!(name, "$version" | "$metadata")
}

fn moment(time: UnixTime) -> String {
    time.to_rfc3339(7)
}

/// When what nobody has touched was changed.
const BEFORE_ALL: UnixTime = UnixTime::from_nanos(0);

const LAST_UPDATED: &str = "$lastUpdated";

/// Longest name, in bytes.
const MAX_KEY: usize = 1024;

/// Longest text, in bytes.
const MAX_TEXT: usize = 4 * 1024;

/// Objects in objects, at most. Arrays count too, which is ours: nesting is recursion.
const MAX_DEPTH: usize = 10;

/// See [`size`].
const ELEMENT: usize = 4;

#[cfg(test)]
#[path = "twin_tests.rs"]
mod tests;
