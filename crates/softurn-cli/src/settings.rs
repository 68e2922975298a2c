//! What every command does with its settings: flags over a TOML file over defaults, resolved into one flat struct of which
//! the run directory keeps a copy.

use std::path::Path;

use clap::{Args, Command};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use toml::{Table, Value};

use crate::args::RunArgs;
use crate::failure::{Failure, Result};
use crate::rundir;

/// The resolved settings of a command: every value that decides the result of a run. Keys are the flags with underscores.
pub trait Configuration: Serialize + DeserializeOwned {
    /// What a person wrote, in flags or in a file; what is absent falls back to the next layer.
    type Settings: Args + Serialize + DeserializeOwned;

    /// Keys without a default.
    const REQUIRED: &'static [&'static str];

    /// All keys, in the order of the struct: the flags.
    fn keys() -> Vec<String> {
        let command = Self::Settings::augment_args(Command::new(""));
        command.get_arguments().map(|argument| argument.get_id().to_string()).collect()
    }

    /// What stands where `given` says nothing.
    fn defaults(given: &Table) -> Self::Settings;

    /// Checks every value that can be checked without the data.
    ///
    /// # Errors
    /// [`Failure::BadInput`] naming the flag.
    fn check(&self) -> Result<()>;

    /// Takes over what the run to resume has chosen for its data and nobody asks for now.
    fn adopt(&mut self, _stored: &Self) {}

    /// Resolves `flags` over the settings of `file` over the defaults, and checks every value.
    ///
    /// # Errors
    /// [`Failure::BadInput`] naming the key in the file or the flag.
    fn resolve(flags: &Self::Settings, file: Option<&Path>) -> Result<Self> {
        let mut given = Table::new();
        if let Some(path) = file {
            given.extend(read_settings::<Self>("--config", path)?);
        }
        given.extend(table_of(flags)?);
        let mut table = table_of(&Self::defaults(&given))?;
        table.extend(given);
        for key in Self::REQUIRED {
            if !table.contains_key(*key) {
                return Err(missing(key));
            }
        }
        let config: Self = table.try_into().map_err(|error: toml::de::Error| anyhow::anyhow!("{}", error.message()))?;
        config.check()?;
        Ok(config)
    }

    /// Reads the resolved configuration that an earlier run stored.
    ///
    /// # Errors
    /// [`Failure::BadInput`] naming the file.
    fn read(path: &Path) -> Result<Self> {
        let given = read_settings::<Self>("--resume", path)?;
        let mut table = table_of(&Self::defaults(&given))?;
        table.extend(given);
        table.try_into().map_err(|error: toml::de::Error| Failure::bad_input(path.display(), error.message()))
    }

    /// The configuration that `settings` ask for: of the run to resume, or flags over file over defaults.
    ///
    /// # Errors
    /// `--out` exists, or `--resume` finds no run there or another configuration than is asked for.
    fn of_run(settings: &Self::Settings, run: &RunArgs) -> Result<Self> {
        if !run.resume {
            rundir::check_free(&run.out)?;
            return Self::resolve(settings, run.config.as_deref());
        }
        let stored_path = rundir::check_resumable(&run.out)?;
        let stored = Self::read(&stored_path)?;
        let mut config = Self::resolve(settings, Some(run.config.as_deref().unwrap_or(&stored_path)))?;
        config.adopt(&stored);
        config.check_same(&stored)?;
        Ok(config)
    }

    /// A resumed run keeps its configuration.
    ///
    /// # Errors
    /// [`Failure::BadInput`] naming the first key in which `self`, asked for now, differs from `stored`.
    fn check_same(&self, stored: &Self) -> Result<()> {
        let (now, then) = (table_of(self)?, table_of(stored)?);
        let show = |value: Option<&Value>| value.map_or("unset".into(), Value::to_string);
        for key in Self::keys() {
            if now.get(&key) != then.get(&key) {
                let (now, then) = (show(now.get(&key)), show(then.get(&key)));
                return Err(Failure::bad_input(
                    flag(&key),
                    format!("{now} differs from {then} in the run to resume; a resumed run keeps its configuration"),
                ));
            }
        }
        Ok(())
    }

    /// The text of `config.toml`: one line per value.
    fn to_toml(&self) -> String {
        self.rows_of_table().into_iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
    }

    /// Keys and values as the report's table shows them.
    fn rows_of_table(&self) -> Vec<(String, String)> {
        let table = table_of(self).unwrap_or_default();
        Self::keys()
            .into_iter()
            .filter_map(|key| table.get(&key).map(|value| (key.clone(), value.to_string())))
            .collect()
    }

    /// SHA-256 of [`Configuration::to_toml`] in hexadecimal: what a checkpoint remembers of its configuration.
    fn hash(&self) -> String {
        Sha256::digest(self.to_toml()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A number that a TOML file can hold too: its integers are signed.
pub fn count(text: &str) -> std::result::Result<usize, String> {
    let value: usize = text.parse().map_err(|error: std::num::ParseIntError| error.to_string())?;
    if i64::try_from(value).is_ok() { Ok(value) } else { Err("number too large".into()) }
}

/// `learning_rate` as `--learning-rate`.
pub fn flag(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

/// The failure of a setting that nobody gave and that has no default.
pub fn missing(key: &str) -> Failure {
    Failure::bad_input(flag(key), "missing; give it as a flag or in a --config file")
}

/// An error that names the flag unless `value` is a positive number.
pub fn positive(key: &str, value: f64) -> Result<()> {
    // The device counts in single precision. The negation lets NaN fail.
    let single = value as f32;
    if !(single > 0.0 && single.is_finite()) {
        return Err(Failure::bad_input(flag(key), format!("{value} is not a positive number")));
    }
    Ok(())
}

/// Settings that suit some choices alone: their key, whether it is set, whether it suits, and what it is a setting of.
pub type Fit = (&'static str, bool, bool, &'static str);

/// Refuses settings that would have no effect.
///
/// # Errors
/// [`Failure::BadInput`] naming the first of them.
pub fn check_fit(settings: &[Fit]) -> Result<()> {
    match settings.iter().find(|(_, set, suits, _)| *set && !suits) {
        Some((key, _, _, choice)) => Err(Failure::bad_input(flag(key), format!("is a setting of {choice}"))),
        None => Ok(()),
    }
}

/// Widths of hidden layers; a single 0 says that there are none.
pub fn hidden_widths(widths: &[usize]) -> Vec<usize> {
    if widths == [0] { Vec::new() } else { widths.to_vec() }
}

fn table_of(value: &impl Serialize) -> Result<Table> {
    Ok(Table::try_from(value).map_err(|error| anyhow::anyhow!("configuration: {error}"))?)
}

fn read_settings<C: Configuration>(argument: &str, path: &Path) -> Result<Table> {
    let place = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|error| Failure::bad_input(argument, format!("{place}: {error}")))?;
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        Failure::bad_input(argument, format!("{place}, line {line}: {}", error.message()))
    })?;
    let known = C::keys();
    // Key by key, because the deserializer's message does not say which key has the wrong type.
    for (key, value) in &table {
        if !known.contains(key) {
            return Err(Failure::bad_input(argument, format!("{place}: unknown key `{key}`")));
        }
        let single = Table::from_iter([(key.clone(), value.clone())]);
        single
            .try_into::<C::Settings>()
            .map_err(|error| Failure::bad_input(argument, format!("{place}: key `{key}`: {}", error.message())))?;
    }
    Ok(table)
}
