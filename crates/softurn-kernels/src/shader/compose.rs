//! Textual composition: a line `#import NAME` is replaced by `shaders/shared/NAME.wgsl`, once; errors name the file and
//! line that the author wrote.

use super::registry;
use crate::{Error, Result};

/// A textual change to one shader file, for the mutation table.
#[derive(Debug, Clone)]
pub struct Patch {
    /// The file: `softmax`, or `shared/reduce`.
    pub shader: &'static str,
    /// The text to replace; it must occur.
    pub from: &'static str,
    /// What replaces its first occurrence.
    pub to: &'static str,
}

/// A shader with its imports in place.
pub(crate) struct Composed {
    pub(crate) source: String,
    /// For each line of `source`: file name and line number in that file.
    lines: Vec<(String, usize)>,
}

impl Composed {
    pub(crate) fn new(name: &'static str, patches: &[Patch]) -> Result<Self> {
        let mut composed = Self { source: String::new(), lines: Vec::new() };
        composed.append(name, patches, &mut Vec::new())?;
        Ok(composed)
    }

    fn append(&mut self, name: &str, patches: &[Patch], seen: &mut Vec<String>) -> Result<()> {
        if seen.iter().any(|other| other == name) {
            return Ok(());
        }
        seen.push(name.to_owned());
        let fail = |message: String| Error::Shader { shader: name.to_owned(), message };
        let original = registry::source(name).ok_or_else(|| fail("there is no such file".into()))?;
        let mut text = original.to_owned();
        for patch in patches.iter().filter(|patch| patch.shader == name) {
            if !text.contains(patch.from) {
                return Err(fail(format!("the patch '{}' does not apply", patch.from)));
            }
            text = text.replacen(patch.from, patch.to, 1);
        }
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(import) = line.strip_prefix("#import ") {
                self.append(&format!("shared/{}", import.trim()), patches, seen)?;
            } else {
                self.source.push_str(line);
                self.source.push('\n');
                self.lines.push((name.to_owned(), number));
            }
        }
        Ok(())
    }

    /// `file:line` of a line of the composed source, counted from 1.
    pub(crate) fn origin(&self, line: usize) -> String {
        match self.lines.get(line.saturating_sub(1)) {
            Some((file, number)) => format!("shaders/{file}.wgsl:{number}"),
            None => format!("line {line}"),
        }
    }
}

#[cfg(test)]
impl Composed {
    /// A source without imports, for tests of the checks.
    pub(crate) fn from_text(text: &str) -> Self {
        let lines = (1..=text.lines().count()).map(|number| ("test".to_owned(), number)).collect();
        Self { source: text.to_owned(), lines }
    }
}
