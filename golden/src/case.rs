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
