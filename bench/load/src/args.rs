//! Command line: one table of options per subcommand, from which both parser and help are made.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use crate::fault::Fault;
use crate::system::PID_MAX;

/// One option. A switch has an empty `value`; an option without a default may stay unset.
pub struct Spec {
    pub name: &'static str,
    pub value: &'static str,
    pub default: &'static str,
    pub doc: &'static str,
}

pub const fn spec(
    name: &'static str,
    value: &'static str,
    default: &'static str,
    doc: &'static str,
) -> Spec {
    Spec {
        name,
        value,
        default,
        doc,
    }
}

#[derive(Debug)]
pub struct Args {
    values: BTreeMap<&'static str, String>,
}

impl Args {
    /// `specs` are tables of options, joined.
    pub fn parse(words: &[String], specs: &[&'static [Spec]]) -> Result<Self, Fault> {
        let specs: Vec<&'static Spec> = specs.iter().copied().flatten().collect();
        let mut values: BTreeMap<&'static str, String> = specs
            .iter()
            .filter(|spec| !spec.default.is_empty())
            .map(|spec| (spec.name, spec.default.to_string()))
            .collect();
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            let (name, inline) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_string())),
                None => (word.as_str(), None),
            };
            let spec = name
                .strip_prefix("--")
                .and_then(|name| specs.iter().find(|spec| spec.name == name))
                .ok_or_else(|| Fault::BadArgument(format!("unknown option {name}")))?;
            let value = if spec.value.is_empty() {
                if inline.is_some() {
                    return Err(Fault::BadArgument(format!("{name} takes no value")));
                }
                String::from("true")
            } else {
                inline
                    .or_else(|| rest.next().cloned())
                    .ok_or_else(|| Fault::BadArgument(format!("{name} needs {}", spec.value)))?
            };
            values.insert(spec.name, value);
        }
        Ok(Self { values })
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    pub fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// A number inside its range. Only for options with a default.
    pub fn number(&self, name: &str, range: RangeInclusive<u64>) -> Result<u64, Fault> {
        match self.optional_number(name, range)? {
            Some(number) => Ok(number),
            None => Err(Fault::BadArgument(format!("--{name} is needed"))),
        }
    }

    pub fn optional_number(
        &self,
        name: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Fault> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match text.parse::<u64>() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(Fault::BadArgument(format!(
                "--{name} {text}: a whole number from {} to {} is expected",
                range.start(),
                range.end()
            ))),
        }
    }

    /// Seconds with a fraction, from 0 to the given most.
    pub fn seconds(&self, name: &str, most: f64) -> Result<f64, Fault> {
        let text = self.text(name).unwrap_or("0");
        match text.parse::<f64>() {
            Ok(seconds) if (0.0..=most).contains(&seconds) => Ok(seconds),
            _ => Err(Fault::BadArgument(format!(
                "--{name} {text}: seconds from 0 to {most} are expected"
            ))),
        }
    }

    /// A comma-separated list of process ids.
    pub fn pids(&self, name: &str) -> Result<Vec<i32>, Fault> {
        self.text(name)
            .unwrap_or("")
            .split(',')
            .filter(|text| !text.is_empty())
            .map(|text| match text.parse::<i32>() {
                Ok(pid) if (1..=PID_MAX).contains(&pid) => Ok(pid),
                _ => Err(Fault::BadArgument(format!(
                    "--{name} {text}: not a process id"
                ))),
            })
            .collect()
    }

    /// The address to speak to or listen on. Others than loopback are refused: this tool floods.
    pub fn loopback(&self, name: &str) -> Result<SocketAddr, Fault> {
        let text = self.text(name).unwrap_or("");
        let address: SocketAddr = text
            .parse()
            .map_err(|_| Fault::BadArgument(format!("--{name} {text}: IP:PORT is expected")))?;
        if !address.ip().is_loopback() {
            return Err(Fault::BadArgument(format!(
                "--{name} {text}: only loopback addresses (127.0.0.0/8, [::1]) are accepted"
            )));
        }
        Ok(address)
    }
}

pub fn describe(specs: &[Spec]) -> String {
    specs
        .iter()
        .map(|spec| {
            let option = format!("--{} {}", spec.name, spec.value);
            let default = match spec.default {
                "" => String::new(),
                default => format!(" [{default}]"),
            };
            format!("    {option:<24} {}{default}\n", spec.doc)
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SPECS: &[Spec] = &[
        spec("addr", "IP:PORT", "127.0.0.1:10911", "where"),
        spec("depth", "N", "1", "how many"),
        spec("check", "", "", "a switch"),
    ];

    fn parse(line: &str) -> Result<Args, Fault> {
        let words: Vec<String> = line.split_whitespace().map(String::from).collect();
        Args::parse(&words, &[SPECS])
    }

    #[test]
    fn values_come_from_the_line_or_the_default() {
        let args = parse("--depth=128 --check").unwrap();
        assert_eq!(args.number("depth", 1..=1000).unwrap(), 128);
        assert!(args.is_set("check"));
        assert!(args.loopback("addr").is_ok());
    }

    #[test]
    fn unknown_options_missing_values_and_numbers_out_of_range_are_refused() {
        assert!(parse("--nope 1").is_err());
        assert!(parse("depth 1").is_err());
        assert!(parse("--depth").is_err());
        assert!(parse("--check=1").is_err());
        assert!(parse("--depth 0").unwrap().number("depth", 1..=9).is_err());
    }

    #[test]
    fn only_loopback_addresses_are_accepted() {
        for address in [
            "10.0.0.1:1",
            "0.0.0.0:1",
            "[::]:1",
            "192.168.1.1:10911",
            "localhost:1",
        ] {
            let args = parse(&format!("--addr {address}")).unwrap();
            assert!(args.loopback("addr").is_err(), "{address}");
        }
        for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1"] {
            let args = parse(&format!("--addr {address}")).unwrap();
            assert!(args.loopback("addr").is_ok(), "{address}");
        }
    }
}
