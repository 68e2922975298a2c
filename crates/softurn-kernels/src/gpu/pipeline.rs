//! Pipelines, built once per (operation, entry point, constants), with layouts read from the shader itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::recorder::{Command, SLOT};
use super::{Capabilities, Gpu};
use crate::shader::{self, Module, Patch};
use crate::{Error, Result, Tensor};

/// One recorded call of a kernel. Tensors are bound in the order inputs, outputs, at bindings 0, 1, 2 ...
pub(crate) struct Call<'a> {
    pub op: &'static str,
    pub entry: &'static str,
    pub constants: &'a [(&'static str, f64)],
    pub inputs: &'a [&'a Tensor],
    pub outputs: &'a [&'a Tensor],
    pub params: &'a [u8],
    pub groups: [u32; 3],
}

pub(crate) struct Pipeline {
    pub(crate) raw: wgpu::ComputePipeline,
    pub(crate) label: (&'static str, &'static str),
    layout: wgpu::BindGroupLayout,
    /// Per binding, whether the kernel writes it.
    writable: Vec<bool>,
    params_bytes: u32,
    bind_groups: Mutex<HashMap<Vec<Binding>, wgpu::BindGroup>>,
}

/// A buffer with offset and size in bytes.
type Binding = (wgpu::Buffer, u64, u64);

/// Bind groups kept for each pipeline. Training meets the same few again in every step, because the pool hands out the
/// same buffers in the same order.
const BIND_GROUPS: usize = 256;

type Key = (&'static str, &'static str, Vec<(&'static str, u64)>);

pub(crate) struct Pipelines {
    params_layout: wgpu::BindGroupLayout,
    patches: Vec<Patch>,
    modules: Mutex<HashMap<&'static str, Arc<(Module, wgpu::ShaderModule)>>>,
    pipelines: Mutex<HashMap<Key, Arc<Pipeline>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn buffer_entry(binding: u32, ty: wgpu::BufferBindingType, dynamic: bool) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: dynamic, min_binding_size: None },
        count: None,
    }
}

impl Pipelines {
    pub(crate) fn new(device: &wgpu::Device, patches: Vec<Patch>) -> Self {
        let params_layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("parameters"),
            entries: &[buffer_entry(0, wgpu::BufferBindingType::Uniform, true)],
        });
        Self { params_layout, patches, modules: Mutex::default(), pipelines: Mutex::default() }
    }

    pub(crate) fn params_layout(&self) -> &wgpu::BindGroupLayout {
        &self.params_layout
    }

    fn module(&self, device: &wgpu::Device, op: &'static str) -> Result<Arc<(Module, wgpu::ShaderModule)>> {
        let mut modules = lock(&self.modules);
        if let Some(module) = modules.get(op) {
            return Ok(module.clone());
        }
        let module = Module::load(op, &self.patches)?;
        let compiled = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(op),
            source: wgpu::ShaderSource::Wgsl(module.source().into()),
        });
        let module = Arc::new((module, compiled));
        modules.insert(op, module.clone());
        Ok(module)
    }

    fn get(&self, device: &wgpu::Device, capabilities: &Capabilities, call: &Call<'_>) -> Result<Arc<Pipeline>> {
        let key = (call.op, call.entry, call.constants.iter().map(|&(name, value)| (name, value.to_bits())).collect());
        if let Some(pipeline) = lock(&self.pipelines).get(&key) {
            return Ok(pipeline.clone());
        }
        let module = self.module(device, call.op)?;
        let entry = module.0.entry(call.entry)?;
        shader::check_workgroup_memory(&module.0, call.entry, call.constants, capabilities.max_workgroup_bytes)?;
        if cfg!(debug_assertions) {
            shader::check_barriers(&module.0, call.entry)?;
        }
        #[cfg(test)]
        if self.patches.is_empty() {
            crate::testing::log_pipeline(call.op, call.entry, call.constants);
        }
        let writable: Vec<bool> = entry.bindings.iter().map(|binding| binding.writable).collect();
        let entries: Vec<_> = (0u32..)
            .zip(&writable)
            .map(|(i, &writable)| buffer_entry(i, wgpu::BufferBindingType::Storage { read_only: !writable }, false))
            .collect();
        let layout = device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(call.op), entries: &entries });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(call.op),
            bind_group_layouts: &[Some(&layout), Some(&self.params_layout)],
            immediate_size: 0,
        });
        let raw = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(call.op),
            layout: Some(&pipeline_layout),
            module: &module.1,
            entry_point: Some(call.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: call.constants,
                // Every kernel writes its workgroup memory before it reads it; zeroing costs a barrier.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        let pipeline = Arc::new(Pipeline {
            raw,
            label: (call.op, call.entry),
            layout,
            writable,
            params_bytes: entry.params_bytes,
            bind_groups: Mutex::default(),
        });
        lock(&self.pipelines).insert(key, pipeline.clone());
        Ok(pipeline)
    }
}

impl Pipeline {
    /// The bind group of these buffers, and whether it had to be created.
    fn bind_group(&self, device: &wgpu::Device, bindings: Vec<Binding>) -> (wgpu::BindGroup, bool) {
        let mut known = lock(&self.bind_groups);
        if let Some(group) = known.get(&bindings) {
            return (group.clone(), false);
        }
        let entries: Vec<wgpu::BindGroupEntry<'_>> = (0u32..)
            .zip(&bindings)
            .map(|(binding, (buffer, offset, bytes))| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer,
                    offset: *offset,
                    size: wgpu::BufferSize::new(*bytes),
                }),
            })
            .collect();
        let descriptor = wgpu::BindGroupDescriptor { label: None, layout: &self.layout, entries: &entries };
        let group = device.create_bind_group(&descriptor);
        if known.len() == BIND_GROUPS {
            known.clear();
        }
        known.insert(bindings, group.clone());
        (group, true)
    }
}

impl Gpu {
    /// Records a kernel. The call must agree with what the shader declares; a disagreement is a bug in an op and is
    /// reported as one.
    pub(crate) fn dispatch(&self, call: Call<'_>) -> Result<()> {
        let inner = &self.inner;
        let pipeline = inner.pipelines.get(&inner.device, &inner.capabilities, &call)?;
        let expected = call.inputs.iter().map(|_| false).chain(call.outputs.iter().map(|_| true));
        let disagreement = if !expected.eq(pipeline.writable.iter().copied()) {
            Some(format!("{} inputs and {} outputs are bound", call.inputs.len(), call.outputs.len()))
        } else if pipeline.params_bytes as usize != call.params.len() || call.params.len() > SLOT as usize {
            Some(format!("{} bytes of parameters are given for {}", call.params.len(), pipeline.params_bytes))
        } else if call.groups.iter().any(|&n| n == 0 || n > inner.capabilities.max_workgroups) {
            Some(format!("{:?} workgroups are dispatched", call.groups))
        } else {
            None
        };
        if let Some(message) = disagreement {
            return Err(Error::Shader { shader: call.op.into(), message: format!("{}: {message}", call.entry) });
        }
        let tensors = call.inputs.iter().chain(call.outputs);
        let bindings = tensors.map(|tensor| (tensor.buffer().raw().clone(), tensor.offset(), tensor.bytes())).collect();
        let (buffers, created) = pipeline.bind_group(&inner.device, bindings);
        let mut params = [0; SLOT as usize];
        params[..call.params.len()].copy_from_slice(call.params);
        let mut recorder = self.recorder();
        recorder.counters.bind_groups += u64::from(created);
        recorder.counters.bound_bytes += bound_bytes(&call);
        let command = Command::Dispatch { pipeline, buffers, params, groups: call.groups };
        recorder.push(command, &inner.device, &inner.queue);
        Ok(())
    }
}

/// Of the tensors of a call, each once: an input that is bound twice, as stand-in for noise that there is none of, counts
/// once.
fn bound_bytes(call: &Call<'_>) -> u64 {
    let place = |tensor: &Tensor| (Arc::as_ptr(tensor.buffer()), tensor.offset());
    let again = |i: usize| call.inputs[..i].iter().any(|earlier| place(earlier) == place(call.inputs[i]));
    let inputs = (0..call.inputs.len()).filter(|&i| !again(i)).map(|i| call.inputs[i]);
    inputs.chain(call.outputs.iter().copied()).map(Tensor::bytes).sum()
}

/// Workgroups for `threads` invocations in groups of `size`, folded into two dimensions where one is too short. Shaders
/// undo the fold with `linear_id` of `shared/index`.
pub(crate) fn groups_for(threads: usize, size: usize) -> [u32; 3] {
    let groups = threads.div_ceil(size).max(1);
    let x = groups.min(WORKGROUPS);
    [x as u32, groups.div_ceil(x) as u32, 1]
}

/// WebGPU's default limit of workgroups along one dimension.
const WORKGROUPS: usize = 65535;
