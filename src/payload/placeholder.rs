//! The placeholders: their names, what they take, and what is said about mistakes.

use std::ops::Range;

use super::error::TemplateError;
use super::moment::Moment;
use super::part::{Part, push};
use super::scan::{Argument, Bare, Call, Word};
use super::walk::Walk;
use super::{MAX_DECIMALS, MAX_NUMBER, MAX_RANDOM, MAX_WEIGHT};
use crate::document::diagnostics::quote;
use crate::document::values::nearest;

/// Every placeholder, as an example of its use.
pub(super) const EXAMPLES: [(&str, &str); 19] = [
    ("device_id", "${device_id}"),
    ("registration_id", "${registration_id}"),
    ("n", "${n}"),
    ("seq", "${seq}"),
    ("run", "${run}"),
    ("population", "${population}"),
    ("now", "${now}, ${now(unix_ms)} or ${now(\"%H:%M:%S\")}"),
    ("uniform", "${uniform(8, 12, 2)}: low, high and, if not 2, the decimals"),
    ("int", "${int(1, 6)}: both ends included"),
    ("normal", "${normal(20, 1.5, 2)}: mean, deviation and, if not 2, the decimals"),
    ("boolean", "${boolean} or ${boolean(0.1)}: the share that is true, 0 to 1"),
    ("step", "${step(0, 0.5, 100)}: from, by and, if it ends, to"),
    ("sequence", "${sequence(\"open\", \"shut\")}"),
    ("choice", "${choice(\"ok\", \"busy\")} or ${choice(\"ok\": 95, \"busy\": 5)}"),
    ("walk", "${walk(20, 0.5, -10, 40, 2)}: start, step, low, high and, if not 2, the decimals"),
    ("uuid", "${uuid}"),
    ("bytes", "${bytes(16)}: random bytes, in base64"),
    ("hex", "${hex(8)}: random bytes, in hexadecimal"),
    ("string", "${string(12)}: random letters and digits"),
];

/// Decimals where none are given.
const DEFAULT_DECIMALS: u8 = 2;

/// Makes parts of the placeholders of one template.
pub(super) struct Maker<'t> {
    pub(super) template: &'t str,
    /// Whether texts go into JSON strings.
    pub(super) json: bool,
}

impl Maker<'_> {
    /// The part that `call` stands for. Of walks, `walks` counts those before it.
    pub(super) fn part(&self, call: &Call<'_>, walks: &mut u64) -> Result<Part, TemplateError> {
        let simple = match call.name {
            "device_id" => Some(Part::DeviceId),
            "registration_id" => Some(Part::RegistrationId),
            "n" => Some(Part::Device),
            "seq" => Some(Part::Sequence),
            "run" => Some(Part::Run),
            "population" => Some(Part::Population),
            "uuid" => Some(Part::Uuid),
            _ => None,
        };
        let arguments = call.arguments.as_deref().unwrap_or_default();
        if call.name != "choice"
            && let Some(weight) = arguments.iter().find_map(|argument| argument.weight.as_ref())
        {
            return Err(self.wrong(
                weight.span.clone(),
                format!("an argument of {} has a weight", shown(call.name)),
                "only `choice` draws by weight: ${choice(\"ok\": 95, \"busy\": 5)}",
            ));
        }
        if let Some(part) = simple {
            return if call.arguments.is_none() { Ok(part) } else { Err(self.count(call)) };
        }
        match call.name {
            "now" => self.now(call, arguments),
            "uniform" => {
                let (numbers, decimals) = self.numbers::<2>(call, arguments)?;
                let [low, high] = self.ascending(arguments, numbers)?;
                Ok(Part::Uniform { low, high, decimals: decimals.unwrap_or(DEFAULT_DECIMALS) })
            }
            "int" => {
                let [low, high] = arguments else { return Err(self.count(call)) };
                let (low, high) = (self.integer(low)?, self.integer(high)?);
                self.ascending(arguments, [low as f64, high as f64])?;
                Ok(Part::Integer { low, high })
            }
            "normal" => {
                let (numbers, decimals) = self.numbers::<2>(call, arguments)?;
                let [mean, deviation] = numbers;
                self.not_negative(&arguments[1], deviation, "a deviation")?;
                Ok(Part::Normal { mean, deviation, decimals: decimals.unwrap_or(DEFAULT_DECIMALS) })
            }
            "boolean" => match arguments {
                [] if call.arguments.is_none() => Ok(Part::Boolean { share: 0.5 }),
                [share] => {
                    let value = self.number(share)?;
                    if !(0.0..=1.0).contains(&value) {
                        return Err(self.wrong(
                            share.value.span(),
                            "the share of `boolean` is not between 0 and 1",
                            "write for example ${boolean(0.1)}: true for every tenth",
                        ));
                    }
                    Ok(Part::Boolean { share: value })
                }
                _ => Err(self.count(call)),
            },
            "step" => self.step(call, arguments),
            "sequence" => {
                self.items(call, arguments)?;
                Ok(Part::Cycle(arguments.iter().map(|item| self.item(item)).collect::<Result<_, _>>()?))
            }
            "choice" => {
                self.items(call, arguments)?;
                let mut sum = 0;
                let mut items = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    sum += argument.weight.as_ref().map_or(Ok(1), |weight| self.weight(weight))?;
                    items.push((sum, self.item(argument)?));
                }
                Ok(Part::Choice(items.into_boxed_slice()))
            }
            "walk" => {
                let (numbers, decimals) = self.numbers::<4>(call, arguments)?;
                let [start, step, low, high] = numbers;
                self.not_negative(&arguments[1], step, "a step")?;
                self.ascending(&arguments[2..], [low, high])?;
                if !(low..=high).contains(&start) {
                    return Err(self.wrong(
                        arguments[0].value.span(),
                        "the walk starts outside of its bounds",
                        "write ${walk(start, step, low, high)} with low <= start <= high",
                    ));
                }
                let ordinal = *walks;
                *walks += 1;
                let walk = Walk { start, step, low, high };
                Ok(Part::Walk { walk, decimals: decimals.unwrap_or(DEFAULT_DECIMALS), ordinal })
            }
            "bytes" => Ok(Part::Base64(self.length(call, arguments)?)),
            "hex" => Ok(Part::Hex(self.length(call, arguments)?)),
            "string" => Ok(Part::Letters(self.length(call, arguments)?)),
            _ => Err(self.unknown(call)),
        }
    }

    fn now(&self, call: &Call<'_>, arguments: &[Argument<'_>]) -> Result<Part, TemplateError> {
        let argument = match arguments {
            [] if call.arguments.is_none() => return Ok(Part::Now(Moment::Iso(3))),
            [argument] => argument,
            _ => return Err(self.count(call)),
        };
        match &argument.value {
            Word::Bare(name) => Moment::of_name(name.text).map(Part::Now).ok_or_else(|| {
                let remedy = match nearest(name.text, Moment::NAMES) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!(
                        "use {} or a format in quotes: ${{now(\"%H:%M:%S\")}}",
                        Moment::NAMES.join(", ")
                    ),
                };
                self.wrong(
                    name.span.clone(),
                    format!("{} is not a form of the time", quote(name.text)),
                    remedy,
                )
            }),
            Word::Quoted(format, span) => Moment::of_format(format).map(Part::Now).map_err(|reason| {
                self.wrong(
                    span.clone(),
                    format!("the format of the time is wrong: {reason}"),
                    "use conversions of strftime: ${now(\"%Y-%m-%d %H:%M:%S\")}",
                )
            }),
        }
    }

    fn step(&self, call: &Call<'_>, arguments: &[Argument<'_>]) -> Result<Part, TemplateError> {
        let (from, by, to, decimals) = match arguments {
            [from, by] => (from, by, None, None),
            [from, by, to] => (from, by, Some(to), None),
            [from, by, to, decimals] => (from, by, Some(to), Some(self.decimals(decimals)?)),
            _ => return Err(self.count(call)),
        };
        // As many as were written, so that a step of 1 gives whole numbers.
        let decimals = decimals.unwrap_or_else(|| {
            let written = [Some(from), Some(by), to].into_iter().flatten().map(written_decimals).max();
            written.unwrap_or(0).min(MAX_DECIMALS)
        });
        let (start, by_value) = (self.number(from)?, self.number(by)?);
        let period = match to {
            None => None,
            Some(to) => {
                let steps = (self.number(to)? - start) / by_value;
                if !(steps >= 0.0 && steps.is_finite()) {
                    return Err(self.wrong(
                        by.value.span(),
                        "this step never leads to the end",
                        "write ${step(from, by, to)} with a step towards the end, for example ${step(0, 0.5, 100)}",
                    ));
                }
                // A thousandth more, for a tenth is not ten times in one. Beyond 2^53 it is never reached.
                Some((steps + 1e-3).min(9e15) as u64 + 1)
            }
        };
        Ok(Part::Step { from: start, by: by_value, period, decimals })
    }

    /// So many numbers, and the decimals if one more argument is there.
    fn numbers<const N: usize>(
        &self,
        call: &Call<'_>,
        arguments: &[Argument<'_>],
    ) -> Result<([f64; N], Option<u8>), TemplateError> {
        if arguments.len() != N && arguments.len() != N + 1 {
            return Err(self.count(call));
        }
        let mut numbers = [0.0; N];
        for (number, argument) in numbers.iter_mut().zip(arguments) {
            *number = self.number(argument)?;
        }
        Ok((numbers, arguments.get(N).map(|argument| self.decimals(argument)).transpose()?))
    }

    fn number(&self, argument: &Argument<'_>) -> Result<f64, TemplateError> {
        let Word::Bare(bare) = &argument.value else {
            return Err(self.wrong(
                argument.value.span(),
                "there is a string where a number belongs",
                "write the number without quotes",
            ));
        };
        let plain = bare.text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '.'));
        let number = bare.text.parse::<f64>().ok().filter(|_| plain).ok_or_else(|| {
            self.wrong(
                bare.span.clone(),
                format!("{} is not a number", quote(bare.text)),
                "write for example 12, -0.5 or 1e6",
            )
        })?;
        if number.abs() <= MAX_NUMBER {
            return Ok(number);
        }
        Err(self.wrong(
            bare.span.clone(),
            format!("{} is too far from zero", quote(bare.text)),
            "use numbers from -1e15 to 1e15",
        ))
    }

    fn integer(&self, argument: &Argument<'_>) -> Result<i64, TemplateError> {
        let number = self.number(argument)?;
        if number.fract() == 0.0 {
            return Ok(number as i64);
        }
        Err(self.wrong(
            argument.value.span(),
            "`int` takes whole numbers",
            "use uniform for others: ${uniform(0.5, 1.5, 2)}",
        ))
    }

    fn decimals(&self, argument: &Argument<'_>) -> Result<u8, TemplateError> {
        let number = self.number(argument)?;
        if number.fract() == 0.0 && (0.0..=f64::from(MAX_DECIMALS)).contains(&number) {
            return Ok(number as u8);
        }
        Err(self.wrong(
            argument.value.span(),
            "the number of decimals is out of range",
            format!("use 0 to {MAX_DECIMALS}"),
        ))
    }

    fn length(&self, call: &Call<'_>, arguments: &[Argument<'_>]) -> Result<usize, TemplateError> {
        let [argument] = arguments else { return Err(self.count(call)) };
        let number = self.number(argument)?;
        if number.fract() == 0.0 && (1.0..=MAX_RANDOM as f64).contains(&number) {
            return Ok(number as usize);
        }
        Err(self.wrong(
            argument.value.span(),
            format!("the length of `{}` is out of range", call.name),
            "use a whole number from 1 to 65536",
        ))
    }

    fn weight(&self, weight: &Bare<'_>) -> Result<u64, TemplateError> {
        weight.text.parse().ok().filter(|weight| (1..=MAX_WEIGHT).contains(weight)).ok_or_else(|| {
            self.wrong(
                weight.span.clone(),
                format!("{} is not a weight", quote(weight.text)),
                "use a whole number from 1 to 1000000: ${choice(\"ok\": 95, \"busy\": 5)}",
            )
        })
    }

    /// An item of a list, as it goes into the message.
    fn item(&self, argument: &Argument<'_>) -> Result<Box<str>, TemplateError> {
        match &argument.value {
            Word::Quoted(text, _) => {
                let mut out = Vec::new();
                push(&mut out, text, self.json);
                Ok(String::from_utf8_lossy(&out).into_owned().into_boxed_str())
            }
            Word::Bare(bare) if matches!(bare.text, "true" | "false" | "null") => Ok(bare.text.into()),
            Word::Bare(bare)
                if bare.text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '.')) =>
            {
                self.number(argument)?;
                Ok(bare.text.into())
            }
            Word::Bare(bare) => Err(self.wrong(
                bare.span.clone(),
                match bare.text {
                    "" => "an item of the list is missing".to_owned(),
                    text => format!("{} is neither a number nor true, false or null", quote(text)),
                },
                "put texts in quotes: ${choice(\"ok\", \"busy\")}",
            )),
        }
    }

    fn items(&self, call: &Call<'_>, arguments: &[Argument<'_>]) -> Result<(), TemplateError> {
        if arguments.is_empty() { Err(self.count(call)) } else { Ok(()) }
    }

    fn ascending(
        &self,
        arguments: &[Argument<'_>],
        [low, high]: [f64; 2],
    ) -> Result<[f64; 2], TemplateError> {
        if low <= high {
            return Ok([low, high]);
        }
        let span = arguments[0].value.span().start..arguments[1].value.span().end;
        Err(self.wrong(span, "the lower bound is above the upper one", "write the smaller number first"))
    }

    fn not_negative(&self, argument: &Argument<'_>, value: f64, what: &str) -> Result<(), TemplateError> {
        if value >= 0.0 {
            return Ok(());
        }
        Err(self.wrong(argument.value.span(), format!("{what} is negative"), "use 0 or more"))
    }

    /// The complaint about a wrong number of arguments.
    fn count(&self, call: &Call<'_>) -> TemplateError {
        let example =
            EXAMPLES.iter().find(|(name, _)| *name == call.name).map_or("", |(_, example)| *example);
        let problem = match call.arguments.as_deref() {
            None => format!("`{}` lacks its arguments", call.name),
            Some([]) => format!("`{}` has no arguments in its parentheses", call.name),
            Some([_]) => format!("`{}` does not take one argument", call.name),
            Some(many) => format!("`{}` does not take {} arguments", call.name, many.len()),
        };
        self.wrong(call.span.clone(), problem, format!("write {example}"))
    }

    fn unknown(&self, call: &Call<'_>) -> TemplateError {
        let names = || EXAMPLES.iter().map(|(name, _)| *name);
        let remedy = match nearest(call.name, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "there is {}; `$${{` stands for the characters `${{`",
                names().collect::<Vec<_>>().join(", ")
            ),
        };
        let problem = if call.name.is_empty() {
            "a placeholder has no name".to_owned()
        } else {
            format!("{} is not a placeholder", shown(call.name))
        };
        self.wrong(call.span.clone(), problem, remedy)
    }

    fn wrong(
        &self,
        span: Range<usize>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> TemplateError {
        TemplateError::new(self.template, span, problem, remedy)
    }
}

fn shown(name: &str) -> String {
    quote(&format!("${{{name}}}"))
}

/// How many digits stand behind the point of a number.
fn written_decimals(argument: &Argument<'_>) -> u8 {
    let Word::Bare(bare) = &argument.value else { return 0 };
    let digits = bare.text.split_once('.').map_or(0, |(_, digits)| digits.len());
    u8::try_from(digits).unwrap_or(u8::MAX)
}
