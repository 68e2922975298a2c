//! The context: a device, its buffer pool, its pipelines and one recorder behind a mutex.

mod host;
pub(crate) mod pipeline;
pub(crate) mod pool;
mod profile;
mod readback;
mod recorder;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use wgpu::util::DeviceExt;

pub use pool::PoolStatistics;
pub use profile::KernelTime;
pub use recorder::Counters;

use crate::shader::Patch;
use crate::{DataType, Element, Error, Result, Shape, Tensor};
use pipeline::Pipelines;
use pool::{Pool, PooledBuffer};
use recorder::{Command, Recorder};

/// How a [`Gpu`] is opened. `Default` takes the best adapter and its real limits.
#[derive(Debug, Clone, Default)]
pub struct GpuConfig {
    /// An index as printed by `softurn devices`, or a part of the adapter's name (any case). `None` asks the variable
    /// `SOFTURN_ADAPTER`, and without it takes the most powerful adapter.
    pub adapter: Option<String>,
    /// Forces one shape of kernel; `None` asks `SOFTURN_PLAN` (`cpu` or `gpu`), and without it the adapter's type.
    pub plan: Option<Plan>,
    /// Fills every buffer with 0xffffffff before use and checks guard words on both sides of it after use.
    pub poison: bool,
    /// Measures every dispatch with timestamps, one pass each: slow, and only for [`Gpu::kernel_times`].
    pub profile: bool,
    /// The multiply-adds from which a matrix product runs on the host, where the adapter is the processor itself and its
    /// tensors can be mapped; `u64::MAX` never. `None` asks `SOFTURN_HOST_MATMUL` (a number, or `never`), and without it
    /// takes what was measured to pay. Plan [`Plan::Gpu`] never does.
    pub host_matmul: Option<u64>,
    /// A smaller binding limit than the adapter's, in bytes, to test what happens at the limit.
    pub max_binding_bytes: Option<u64>,
    /// Replacements in shader sources, for the mutation table.
    #[doc(hidden)]
    pub patches: Vec<Patch>,
}

/// The shape of kernels that suits an adapter; both are tested on every adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Plan {
    /// One row per invocation and register tiles: on software adapters barriers and workgroup memory cost most.
    Cpu,
    /// A workgroup per row and tiles in workgroup memory.
    Gpu,
}

/// What an adapter can do, as plain data.
#[derive(Debug, Clone, PartialEq)]
pub struct Capabilities {
    /// The adapter's name.
    pub name: String,
    /// The driver and its version.
    pub driver: String,
    /// The API, such as `Vulkan`.
    pub backend: String,
    /// `Cpu`, `DiscreteGpu`, `IntegratedGpu`, `VirtualGpu` or `Other`.
    pub device_type: String,
    /// The largest tensor in bytes.
    pub max_binding_bytes: u64,
    /// The largest buffer in bytes.
    pub max_buffer_bytes: u64,
    /// Workgroup memory in bytes.
    pub max_workgroup_bytes: u32,
    /// Invocations in a workgroup.
    pub max_workgroup_invocations: u32,
    /// Workgroups along one dimension of a dispatch.
    pub max_workgroups: u32,
    /// Whether timestamps can be written.
    pub timestamps: bool,
    /// Whether subgroup operations exist.
    pub subgroups: bool,
}

impl Capabilities {
    fn of(adapter: &wgpu::Adapter) -> Self {
        let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
        Self {
            name: info.name,
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            backend: info.backend.to_string(),
            device_type: format!("{:?}", info.device_type),
            max_binding_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
            max_buffer_bytes: limits.max_buffer_size,
            max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
            max_workgroup_invocations: limits.max_compute_invocations_per_workgroup,
            max_workgroups: limits.max_compute_workgroups_per_dimension,
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            subgroups: features.contains(wgpu::Features::SUBGROUP),
        }
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {}, {})", self.name, self.backend, self.device_type, self.driver)
    }
}

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    capabilities: Capabilities,
    plan: Plan,
    poison: bool,
    host_matmul: u64,
    pool: Pool,
    pipelines: Pipelines,
    recorder: Mutex<Recorder>,
    /// Numbers as tensors, by their bits; buffers, because tensors would hold on to this very struct.
    constants: Mutex<HashMap<u32, Arc<PooledBuffer>>>,
    failure: Arc<OnceLock<Error>>,
}

/// A cheap handle to an open device. Clones share everything.
#[derive(Clone)]
pub struct Gpu {
    inner: Arc<Inner>,
}

/// The adapters of this machine, in the order of their indices.
pub fn available_adapters() -> Vec<Capabilities> {
    adapters().iter().map(Capabilities::of).collect()
}

fn adapters() -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let backends = descriptor.backends;
    let instance = wgpu::Instance::new(descriptor);
    pollster::block_on(instance.enumerate_adapters(backends))
}

fn choose(mut adapters: Vec<wgpu::Adapter>, wanted: Option<&str>) -> Result<wgpu::Adapter> {
    let position = match wanted {
        None => (0..adapters.len()).min_by_key(|&i| match adapters[i].get_info().device_type {
            wgpu::DeviceType::DiscreteGpu => 0,
            wgpu::DeviceType::IntegratedGpu => 1,
            wgpu::DeviceType::VirtualGpu => 2,
            wgpu::DeviceType::Other => 3,
            wgpu::DeviceType::Cpu => 4,
        }),
        // A number beyond the indices is a part of a name: "4090".
        Some(wanted) => wanted.parse().ok().filter(|&index| index < adapters.len()).or_else(|| {
            let named = |adapter: &wgpu::Adapter| adapter.get_info().name.to_lowercase();
            adapters.iter().position(|adapter| named(adapter).contains(&wanted.to_lowercase()))
        }),
    };
    let Some(position) = position else {
        let names: Vec<String> = adapters.iter().map(|adapter| adapter.get_info().name).collect();
        return Err(Error::NoAdapter {
            wanted: wanted.unwrap_or("any").to_owned(),
            available: if names.is_empty() { "none".into() } else { names.join(", ") },
        });
    };
    Ok(adapters.swap_remove(position))
}

impl Gpu {
    /// Opens a device.
    ///
    /// # Errors
    /// When no adapter fits `config.adapter`, or the driver cannot open it.
    pub fn new(config: GpuConfig) -> Result<Self> {
        let from_env = std::env::var("SOFTURN_ADAPTER").ok().filter(|name| !name.is_empty());
        let adapter = choose(adapters(), config.adapter.as_deref().or(from_env.as_deref()))?;
        let mut capabilities = Capabilities::of(&adapter);
        if let Some(bytes) = config.max_binding_bytes {
            capabilities.max_binding_bytes = capabilities.max_binding_bytes.min(bytes);
        }
        let plan = match (config.plan, std::env::var("SOFTURN_PLAN").as_deref()) {
            (Some(plan), _) => plan,
            (None, Ok("cpu")) => Plan::Cpu,
            (None, Ok("gpu")) => Plan::Gpu,
            (None, Ok(other)) if !other.is_empty() => {
                return Err(Error::argument("Gpu::new", "SOFTURN_PLAN", format!("is '{other}', not 'cpu' or 'gpu'")));
            }
            _ if capabilities.device_type == "Cpu" => Plan::Cpu,
            _ => Plan::Gpu,
        };
        let profile = config.profile && capabilities.timestamps;
        let mut features = wgpu::Features::empty();
        features.set(wgpu::Features::TIMESTAMP_QUERY, profile);
        let mappable = adapter.features().contains(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS);
        let host_matmul = match host::threshold(config.host_matmul)? {
            threshold if mappable && plan == Plan::Cpu && capabilities.device_type == "Cpu" => threshold,
            _ => u64::MAX,
        };
        let mapped = host_matmul < u64::MAX;
        features.set(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS, mapped);
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("softurn"),
            required_features: features,
            required_limits: adapter.limits(),
            experimental_features: wgpu::ExperimentalFeatures::disabled(),
            memory_hints: wgpu::MemoryHints::Performance,
            trace: wgpu::Trace::Off,
        }))
        .map_err(|error| Error::NoDevice { adapter: capabilities.name.clone(), message: one_line(&error) })?;

        let failure = Arc::new(OnceLock::new());
        let (lost, uncaptured) = (failure.clone(), failure.clone());
        device.set_device_lost_callback(move |reason, message| {
            let _ = lost.set(Error::Device(format!("lost ({reason:?}): {message}")));
        });
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let _ = uncaptured.set(Error::Device(one_line(&error)));
        }));
        let pool = Pool::new(config.poison, mapped, capabilities.max_buffer_bytes);
        let pipelines = Pipelines::new(&device, config.patches);
        let recorder = Recorder::new(&device, pipelines.params_layout(), profile);
        Ok(Self {
            inner: Arc::new(Inner {
                capabilities,
                plan,
                poison: config.poison,
                host_matmul,
                pool,
                pipelines,
                recorder: Mutex::new(recorder),
                constants: Mutex::default(),
                failure,
                device,
                queue,
            }),
        })
    }

    /// What the adapter can do.
    pub fn capabilities(&self) -> &Capabilities {
        &self.inner.capabilities
    }

    /// Whether the adapter is a processor: such drivers end long loops without an error.
    pub(crate) fn is_software(&self) -> bool {
        self.inner.capabilities.device_type == "Cpu"
    }

    /// The shape of kernels in use.
    pub fn plan(&self) -> Plan {
        self.inner.plan
    }

    /// What the buffer pool has done so far.
    pub fn pool_statistics(&self) -> PoolStatistics {
        self.inner.pool.statistics()
    }

    /// Starts a new measurement of the pool's high-water mark.
    pub fn reset_high_water(&self) {
        self.inner.pool.reset_high_water();
    }

    /// What the device was asked to do since it was opened.
    pub fn counters(&self) -> Counters {
        self.recorder().counters
    }

    /// Time spent in each kernel since the device was opened; empty unless `GpuConfig::profile` was set.
    pub fn kernel_times(&self) -> Vec<KernelTime> {
        self.flush();
        self.recorder().kernel_times()
    }

    /// A tensor with these elements.
    ///
    /// # Errors
    /// When the shape does not hold exactly `data.len()` elements, or is too large for the adapter.
    pub fn tensor<T: Element>(&self, data: &[T], shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        if shape.len() != data.len() {
            return Err(Error::shape("tensor", "shape", &shape, format!("{} elements", data.len())));
        }
        let tensor = self.uninitialised("tensor", shape, T::DATA_TYPE)?;
        if !data.is_empty() {
            self.recorder().counters.uploaded_bytes += tensor.bytes();
            let staging = self.inner.device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
                label: None,
                contents: bytemuck::cast_slice(data),
                usage: wgpu::BufferUsages::COPY_SRC,
            });
            self.record(Command::Copy {
                source: staging,
                source_offset: 0,
                target: tensor.buffer().raw().clone(),
                target_offset: tensor.offset(),
                bytes: tensor.bytes(),
            });
        }
        Ok(tensor)
    }

    /// A tensor `[1]` of one number, uploaded when it is first asked for and then shared by all who ask: it must not be
    /// written. For the constants of formulas; a number that changes from step to step belongs into a tensor.
    ///
    /// # Errors
    /// As [`Gpu::tensor`].
    pub fn constant(&self, value: f32) -> Result<Tensor> {
        let mut constants = self.inner.constants.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(buffer) = constants.get(&value.to_bits()) {
            return Ok(Tensor::new(self.clone(), buffer.clone(), 0, [1].into(), DataType::F32));
        }
        let tensor = self.tensor(&[value], [1])?;
        constants.insert(value.to_bits(), tensor.buffer().clone());
        Ok(tensor)
    }

    /// A tensor of zeros of type `f32`.
    ///
    /// # Errors
    /// When it is too large for the adapter.
    pub fn zeros(&self, shape: impl Into<Shape>) -> Result<Tensor> {
        self.zeros_of("zeros", shape.into(), DataType::F32)
    }

    /// A tensor of zeros of either type.
    pub(crate) fn zeros_of(&self, what: &'static str, shape: Shape, data_type: DataType) -> Result<Tensor> {
        let tensor = self.uninitialised(what, shape, data_type)?;
        self.clear(&tensor);
        Ok(tensor)
    }

    /// Overwrites `target` with zeros, in the order of recorded commands.
    pub fn clear(&self, target: &Tensor) {
        if !target.is_empty() {
            self.recorder().counters.copied_bytes += target.bytes();
            self.record(Command::Clear {
                target: target.buffer().raw().clone(),
                offset: target.offset(),
                bytes: target.bytes(),
            });
        }
    }

    /// Overwrites `target` with the elements of `source`, in the order of recorded commands.
    ///
    /// # Errors
    /// When lengths or types differ.
    pub fn copy(&self, source: &Tensor, target: &Tensor) -> Result<()> {
        if source.len() != target.len() || source.data_type() != target.data_type() {
            return Err(Error::shape("copy", "source", source.shape(), format!("like the target, {}", target.shape())));
        }
        if !source.is_empty() {
            self.recorder().counters.copied_bytes += 2 * source.bytes();
            self.record(Command::Copy {
                source: source.buffer().raw().clone(),
                source_offset: source.offset(),
                target: target.buffer().raw().clone(),
                target_offset: target.offset(),
                bytes: source.bytes(),
            });
        }
        Ok(())
    }

    /// A tensor whose elements are undefined (poisoned when asked for).
    pub(crate) fn uninitialised(&self, what: &'static str, shape: Shape, data_type: DataType) -> Result<Tensor> {
        let limit = self.inner.capabilities.max_binding_bytes.min(self.inner.pool.largest());
        let needed = (shape.len() as u64).saturating_mul(4);
        if needed > limit {
            return Err(Error::TooLarge { what: format!("{what} {shape}"), unit: "bytes", needed, limit });
        }
        let buffer = Arc::new(self.inner.pool.take(&self.inner.device, needed));
        if self.inner.poison {
            self.record(Command::Poison { target: buffer.raw().clone() });
        }
        Ok(Tensor::new(self.clone(), buffer, 0, shape, data_type))
    }

    /// Submits everything recorded so far without waiting for it.
    pub fn flush(&self) {
        self.recorder().flush(&self.inner.device, &self.inner.queue);
    }

    /// The first failure of the device, if there was any.
    ///
    /// # Errors
    /// That failure.
    pub fn check(&self) -> Result<()> {
        match self.inner.failure.get() {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        }
    }

    fn fail(&self, error: Error) {
        let _ = self.inner.failure.set(error);
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.inner.recorder.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn record(&self, command: Command) {
        self.recorder().push(command, &self.inner.device, &self.inner.queue);
    }

    #[cfg(test)]
    pub(crate) fn destroy(&self) {
        self.inner.device.destroy();
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gpu({}, {:?})", self.inner.capabilities, self.inner.plan)
    }
}

/// The first line of an error and of its causes: users get one line.
fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
