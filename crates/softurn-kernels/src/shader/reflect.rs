//! What a shader declares: entry points, bindings, the parameter struct, workgroup memory.

use std::collections::BTreeMap;

use naga::AddressSpace;
use naga::proc::GlobalCtx;
use naga::valid::{Capabilities, GlobalUse, ValidationFlags, Validator};

use super::compose::{Composed, Patch};
use crate::{Error, Result};

/// A storage binding of an entry point.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Binding {
    pub(crate) name: String,
    pub(crate) writable: bool,
}

/// One entry point.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// Storage bindings 0, 1, 2 ... of group 0.
    pub(crate) bindings: Vec<Binding>,
    /// Size of the uniform struct at group 1, binding 0, in bytes.
    pub(crate) params_bytes: u32,
    /// Its fields: name and byte offset.
    pub(crate) params: Vec<(String, u32)>,
}

/// A composed, parsed and validated shader.
pub(crate) struct Module {
    name: &'static str,
    composed: Composed,
    pub(crate) naga: naga::Module,
    pub(crate) info: naga::valid::ModuleInfo,
    entries: BTreeMap<String, Entry>,
}

impl Module {
    pub(crate) fn load(name: &'static str, patches: &[Patch]) -> Result<Self> {
        Self::from_composed(
            name,
            Composed::new(name, patches)?,
            Validator::new(ValidationFlags::all(), Capabilities::empty()),
        )
    }

    fn from_composed(name: &'static str, composed: Composed, mut validator: Validator) -> Result<Self> {
        let fail = |line: Option<u32>, message: String| Error::Shader {
            shader: name.into(),
            message: match line {
                Some(line) => format!("{}: {message}", composed.origin(line as usize)),
                None => message,
            },
        };
        let source = &composed.source;
        let naga = naga::front::wgsl::parse_str(source)
            .map_err(|error| fail(error.location(source).map(|at| at.line_number), error.message().to_owned()))?;
        let info = validator.validate(&naga).map_err(|error| {
            let line = error.location(source).map(|at| at.line_number);
            let mut message = error.as_inner().to_string();
            let mut cause = std::error::Error::source(error.as_inner());
            while let Some(inner) = cause {
                message = format!("{message}: {inner}");
                cause = inner.source();
            }
            fail(line, message)
        })?;
        let mut entries = BTreeMap::new();
        for (index, entry) in naga.entry_points.iter().enumerate() {
            let reflected =
                reflect(&naga, &info, index).map_err(|message| fail(None, format!("{}: {message}", entry.name)))?;
            entries.insert(entry.name.clone(), reflected);
        }
        Ok(Self { name, naga, info, entries, composed })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn source(&self) -> &str {
        &self.composed.source
    }

    /// File and line of every line of the source.
    #[cfg(test)]
    pub(crate) fn origins(&self) -> Vec<String> {
        (1..=self.source().lines().count()).map(|line| self.composed.origin(line)).collect()
    }

    /// `file:line` of a byte position in the composed source.
    pub(crate) fn origin(&self, span: naga::Span) -> String {
        self.composed.origin(span.location(self.source()).line_number as usize)
    }

    #[cfg(test)]
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    pub(crate) fn entry(&self, entry: &str) -> Result<&Entry> {
        self.entries.get(entry).ok_or_else(|| Error::Shader {
            shader: self.name.into(),
            message: format!("there is no entry point '{entry}'"),
        })
    }
}

/// The bindings and parameters that entry point `index` uses.
fn reflect(module: &naga::Module, info: &naga::valid::ModuleInfo, index: usize) -> std::result::Result<Entry, String> {
    let uses = info.get_entry_point(index);
    let mut storage = BTreeMap::new();
    let (mut params_bytes, mut params) = (0, Vec::new());
    for (handle, global) in module.global_variables.iter() {
        if uses[handle] == GlobalUse::empty() {
            continue;
        }
        let name = global.name.clone().unwrap_or_default();
        match (global.space, global.binding) {
            (AddressSpace::Storage { access }, Some(at)) if at.group == 0 => {
                let writable = access.contains(naga::StorageAccess::STORE);
                storage.insert(at.binding, Binding { name, writable });
            }
            (AddressSpace::Uniform, Some(at)) if (at.group, at.binding) == (1, 0) => {
                let naga::TypeInner::Struct { members, span } = &module.types[global.ty].inner else {
                    return Err("the parameters are not a struct".into());
                };
                params_bytes = *span;
                params =
                    members.iter().map(|member| (member.name.clone().unwrap_or_default(), member.offset)).collect();
            }
            (AddressSpace::WorkGroup | AddressSpace::Private, None) => {}
            (space, at) => {
                return Err(format!("'{name}' in {space:?} at {at:?} is not at a place that dispatches know"));
            }
        }
    }
    if storage.keys().copied().ne(0..storage.len() as u32) {
        return Err(format!("storage bindings are {:?}, not 0, 1, 2 ...", storage.keys()));
    }
    if storage.len() > 8 {
        return Err(format!("{} storage buffers; WebGPU guarantees 8", storage.len()));
    }
    Ok(Entry { bindings: storage.into_values().collect(), params_bytes, params })
}

/// Sums the workgroup memory that an entry point uses under these constants, which wgpu does not check.
pub(crate) fn check_workgroup_memory(
    module: &Module,
    entry: &str,
    constants: &[(&str, f64)],
    limit: u32,
) -> Result<u32> {
    let fail = |message: String| Error::Shader { shader: module.name.into(), message: format!("{entry}: {message}") };
    let constants = constants.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
    let (resolved, info) = naga::back::pipeline_constants::process_overrides(
        &module.naga,
        &module.info,
        Some((naga::ShaderStage::Compute, entry)),
        &constants,
    )
    .map_err(|error| fail(error.to_string()))?;
    let index = resolved.entry_points.iter().position(|candidate| candidate.name == entry);
    let index = index.ok_or_else(|| fail("there is no such entry point".into()))?;
    let uses = info.get_entry_point(index);
    let context: GlobalCtx<'_> = resolved.to_ctx();
    let bytes = resolved
        .global_variables
        .iter()
        .filter(|(handle, global)| global.space == AddressSpace::WorkGroup && uses[*handle] != GlobalUse::empty())
        .map(|(_, global)| resolved.types[global.ty].inner.try_size(context).unwrap_or(u32::MAX))
        .fold(0u32, u32::saturating_add);
    if bytes > limit {
        return Err(fail(format!("{bytes} bytes of workgroup memory, the limit is {limit}")));
    }
    Ok(bytes)
}

#[cfg(test)]
impl Module {
    /// A module from a text, for tests of the checks themselves; subgroup operations are allowed.
    pub(crate) fn from_text(text: &str) -> Result<Self> {
        let mut validator = Validator::new(ValidationFlags::all(), Capabilities::SUBGROUP);
        validator.subgroup_operations(naga::valid::SubgroupOperationSet::all());
        validator.subgroup_stages(naga::valid::ShaderStages::COMPUTE);
        Self::from_composed("test", Composed::from_text(text), validator)
    }
}
