//! A golden file: `{"schema": "NAME/1", "cases": [{"id": .., FIELD: ..}, ..]}`, where a field is a number or an array of
//! them, nested or not, and infinities are the strings `"inf"` and `"-inf"`.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value};

/// What a file holds.
pub struct File {
    pub schema: String,
    pub cases: Vec<Case>,
}

/// One case: inputs and reference values under their names.
pub struct Case {
    pub id: String,
    fields: Map<String, Value>,
}

impl File {
    /// # Errors
    /// When the file is not of this form or holds no case.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).context("cannot be read")?;
        let value: Value = serde_json::from_str(&text).context("is no JSON")?;
        let Value::Object(mut file) = value else { bail!("is no JSON object") };
        let schema = file.get("schema").and_then(Value::as_str).context("field `schema` is missing or no text")?;
        let schema = schema.to_owned();
        let Some(Value::Array(cases)) = file.remove("cases") else { bail!("field `cases` is missing or no array") };
        ensure!(!cases.is_empty(), "holds no cases");
        let case = |(at, value)| {
            let Value::Object(fields) = value else { bail!("case number {at} is no object") };
            let id = fields.get("id").and_then(Value::as_str);
            let id = id.with_context(|| format!("case number {at}: field `id` is missing or no text"))?.to_owned();
            Ok(Case { id, fields })
        };
        let cases = cases.into_iter().enumerate().map(case).collect::<Result<_>>()?;
        Ok(Self { schema, cases })
    }
}

impl Case {
    /// A reference value or several, in the order of the file.
    pub fn numbers(&self, field: &str) -> Result<Vec<f64>> {
        let value = self.fields.get(field).with_context(|| format!("case {}: field `{field}` is missing", self.id))?;
        let mut numbers = Vec::new();
        flatten(value, &mut numbers).with_context(|| format!("case {}: field `{field}`", self.id))?;
        Ok(numbers)
    }

    /// Whether a value is there, and not `null`.
    pub fn has(&self, field: &str) -> bool {
        self.fields.get(field).is_some_and(|value| !value.is_null())
    }

    /// The reference values that are known of a list, with their places: `null` stands for one that is not.
    pub fn known(&self, field: &str) -> Result<Vec<(usize, f64)>> {
        let items = self.fields.get(field).and_then(Value::as_array);
        let items = items.with_context(|| format!("case {}: field `{field}` is missing or no array", self.id))?;
        let mut known = Vec::new();
        for (at, item) in items.iter().enumerate().filter(|(_, item)| !item.is_null()) {
            let mut number = Vec::new();
            flatten(item, &mut number).with_context(|| format!("case {}: field `{field}`", self.id))?;
            known.extend(number.into_iter().map(|number| (at, number)));
        }
        Ok(known)
    }

    /// An object inside the case.
    pub fn inner(&self, field: &str) -> Result<Self> {
        let object = self.fields.get(field).and_then(Value::as_object);
        let fields = object.with_context(|| format!("case {}: field `{field}` is missing or no object", self.id))?;
        Ok(Self { id: self.id.clone(), fields: fields.clone() })
    }

    /// An input: at least one number, each exactly an f32, so that both precisions see the same.
    pub fn inputs(&self, field: &str) -> Result<Vec<f32>> {
        let numbers = self.numbers(field)?;
        ensure!(!numbers.is_empty(), "case {}: field `{field}` is empty", self.id);
        let inexact = numbers.iter().find(|&&x| f64::from(x as f32) != x);
        ensure!(inexact.is_none(), "case {}: field `{field}`: {inexact:?} is no f32", self.id);
        Ok(numbers.iter().map(|&x| x as f32).collect())
    }

    /// Inputs that count, or point at something.
    pub fn whole(&self, field: &str) -> Result<Vec<u32>> {
        let inputs = self.inputs(field)?;
        let odd = inputs.iter().find(|&&x| f64::from(x as u32) != f64::from(x));
        ensure!(odd.is_none(), "case {}: field `{field}`: {odd:?} is no whole number", self.id);
        Ok(inputs.iter().map(|&x| x as u32).collect())
    }

    /// How many of `n` are chosen: at least one, and no more than there are.
    pub fn choice(&self, field: &str, n: usize) -> Result<usize> {
        let k = self.whole(field)?[0] as usize;
        ensure!((1..=n).contains(&k), "case {}: field `{field}` is {k}, not from 1 to {n}", self.id);
        Ok(k)
    }

    /// Inputs as many as others.
    pub fn inputs_of(&self, field: &str, length: usize) -> Result<Vec<f32>> {
        let inputs = self.inputs(field)?;
        let n = inputs.len();
        ensure!(n == length, "case {}: field `{field}` holds {n} numbers, not {length}", self.id);
        Ok(inputs)
    }

    /// An input of one number.
    pub fn input(&self, field: &str) -> Result<f32> {
        let inputs = self.inputs(field)?;
        ensure!(inputs.len() == 1, "case {}: field `{field}` holds {} numbers, not one", self.id, inputs.len());
        Ok(inputs[0])
    }
}

fn flatten(value: &Value, numbers: &mut Vec<f64>) -> Result<()> {
    match value {
        Value::Array(items) => return items.iter().try_for_each(|item| flatten(item, numbers)),
        Value::String(text) if text == "inf" => numbers.push(f64::INFINITY),
        Value::String(text) if text == "-inf" => numbers.push(f64::NEG_INFINITY),
        other => numbers.push(other.as_f64().with_context(|| format!("{other} is no number"))?),
    }
    Ok(())
}

/// f32 values as the twins take them.
pub fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}
