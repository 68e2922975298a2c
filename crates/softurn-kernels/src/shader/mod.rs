//! Shaders: composition with `#import`, the registry of sources, reflection, and the checks that neither wgpu nor naga
//! makes (workgroup memory, barriers in uniform control flow).

mod compose;
mod reflect;
mod registry;
mod uniformity;

pub use compose::Patch;
pub(crate) use reflect::{Module, check_workgroup_memory};
pub use registry::{SHADERS, SHARED};
pub(crate) use uniformity::check_barriers;

#[cfg(test)]
mod tests;
