//! Parameters: named views into a few flat buffers, so that an optimizer step is one dispatch and a checkpoint is one
//! read per buffer.
//!
//! A chunk is four buffers of equal length: value, gradient, first moment, second moment. Each parameter starts at a
//! multiple of 64 elements (256 bytes, what bindings need); the gaps stay zero. A full chunk grows to twice its size;
//! at the adapter's binding limit the next parameter opens another chunk. One parameter never spans two chunks.

use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use softurn_kernels::ops::binary::{self, Binary};
use softurn_kernels::ops::reduce::{self, Reduction};
use softurn_kernels::ops::unary::{self, Unary};
use softurn_kernels::{Gpu, Key, Shape, Tensor};

use crate::{Error, Gradients, Result};

/// Elements between the starts of parameters: 256 bytes.
const ALIGNMENT: usize = 64;
/// Elements of a new chunk.
const INITIAL_CAPACITY: usize = 1024;

/// The name, shape and place of a parameter: a cheap handle. Two handles are equal when they come from one creation.
#[derive(Clone)]
pub struct Param(Arc<Info>);

struct Info {
    index: usize,
    name: String,
    shape: Shape,
}

impl Param {
    /// The position in the order of creation, from 0.
    pub fn index(&self) -> usize {
        self.0.index
    }

    /// The name, unique in its store.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.0.shape
    }
}

impl PartialEq for Param {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Param {}

impl Hash for Param {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl fmt::Debug for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Param('{}', {})", self.name(), self.shape())
    }
}

/// A parameter with its moments on the host, as a checkpoint stores it; all three have `shape.len()` elements.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterState {
    /// The name.
    pub name: String,
    /// The shape.
    pub shape: Shape,
    /// The elements.
    pub values: Vec<f32>,
    /// The optimizer's running mean of the gradient.
    pub first_moment: Vec<f32>,
    /// The optimizer's running mean of the squared gradient.
    pub second_moment: Vec<f32>,
}

/// The flat buffers of a chunk, each of `capacity` elements.
#[derive(Clone)]
pub(crate) struct Flat {
    pub(crate) value: Tensor,
    pub(crate) gradient: Tensor,
    pub(crate) first: Tensor,
    pub(crate) second: Tensor,
}

impl Flat {
    fn zeros(gpu: &Gpu, capacity: usize) -> Result<Self> {
        Ok(Self {
            value: gpu.zeros([capacity])?,
            gradient: gpu.zeros([capacity])?,
            first: gpu.zeros([capacity])?,
            second: gpu.zeros([capacity])?,
        })
    }

    /// The part of each buffer that holds parameters.
    fn prefix(&self, used: usize) -> Result<Self> {
        Ok(Self {
            value: self.value.view(0, [used])?,
            gradient: self.gradient.view(0, [used])?,
            first: self.first.view(0, [used])?,
            second: self.second.view(0, [used])?,
        })
    }
}

struct Chunk {
    flat: Flat,
    used: usize,
}

impl Chunk {
    fn capacity(&self) -> usize {
        self.flat.value.len()
    }
}

struct Entry {
    param: Param,
    chunk: usize,
    start: usize,
}

/// The trainable tensors of a model, by name, with what an optimizer keeps about them.
///
/// ```
/// use softurn_autodiff::Parameters;
/// use softurn_kernels::{Gpu, GpuConfig, Key};
///
/// let gpu = Gpu::new(GpuConfig::default())?;
/// let mut parameters = Parameters::new(&gpu);
/// let weight = parameters.uniform("encoder.weight", [64, 10], 0.1, Key::new(0))?;
/// let bias = parameters.zeros("encoder.bias", [10])?;
/// assert_eq!(parameters.read(&bias)?, [0.0; 10]);
/// assert_eq!(parameters.get("encoder.weight"), Some(&weight));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Parameters {
    gpu: Gpu,
    chunks: Vec<Chunk>,
    entries: Vec<Entry>,
}

impl Parameters {
    /// An empty store.
    pub fn new(gpu: &Gpu) -> Self {
        Self { gpu: gpu.clone(), chunks: Vec::new(), entries: Vec::new() }
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// A new parameter of zeros.
    ///
    /// # Errors
    /// When the name is taken, or the adapter cannot bind so large a tensor.
    pub fn zeros(&mut self, name: impl Into<String>, shape: impl Into<Shape>) -> Result<Param> {
        self.create(name.into(), shape.into(), None)
    }

    /// A new parameter with all elements equal to `value`.
    ///
    /// # Errors
    /// As [`Parameters::zeros`].
    pub fn constant(&mut self, name: impl Into<String>, shape: impl Into<Shape>, value: f32) -> Result<Param> {
        let shape = shape.into();
        let values = vec![value; shape.len()];
        self.create(name.into(), shape, Some(&values))
    }

    /// A new parameter with these elements.
    ///
    /// # Errors
    /// As [`Parameters::zeros`], and when the shape does not hold exactly `values.len()` elements.
    pub fn from_values(&mut self, name: impl Into<String>, shape: impl Into<Shape>, values: &[f32]) -> Result<Param> {
        self.create(name.into(), shape.into(), Some(values))
    }

    /// A new parameter with elements uniform on `[-bound, bound)`.
    ///
    /// Element `i` depends on `key` and `i` alone: it is made on the host from the bits of the key's `i`-th child, and
    /// is the same on every machine and in every version.
    ///
    /// # Errors
    /// As [`Parameters::zeros`], and when the bound is negative or not finite.
    pub fn uniform(&mut self, name: impl Into<String>, shape: impl Into<Shape>, bound: f32, key: Key) -> Result<Param> {
        require_scale("bound", bound)?;
        let shape = shape.into();
        let values: Vec<f32> = key
            .split_forever()
            .take(shape.len())
            .map(|key| ((2.0 * key.unit() - 1.0) * f64::from(bound)) as f32)
            .collect();
        self.create(name.into(), shape, Some(&values))
    }

    /// A new parameter with normal elements of mean 0 and this standard deviation (Box and Muller). As for
    /// [`Parameters::uniform`], element `i` depends on `key` and `i` alone, up to the last bit of the platform's `log`
    /// and `cos`.
    ///
    /// # Errors
    /// As [`Parameters::zeros`], and when the deviation is negative or not finite.
    pub fn normal(
        &mut self,
        name: impl Into<String>,
        shape: impl Into<Shape>,
        deviation: f32,
        key: Key,
    ) -> Result<Param> {
        require_scale("deviation", deviation)?;
        let shape = shape.into();
        let values: Vec<f32> = key
            .split_forever()
            .take(shape.len())
            .map(|key| {
                let [radius, angle] = key.split().map(Key::unit);
                let normal = (-2.0 * (1.0 - radius).ln()).sqrt() * (std::f64::consts::TAU * angle).cos();
                (normal * f64::from(deviation)) as f32
            })
            .collect();
        self.create(name.into(), shape, Some(&values))
    }

    fn create(&mut self, name: String, shape: Shape, values: Option<&[f32]>) -> Result<Param> {
        if self.get(&name).is_some() {
            return Err(Error::DuplicateParameter { name });
        }
        if let Some(values) = values
            && values.len() != shape.len()
        {
            return Err(Error::ParameterShape { name, got: values.len(), shape: shape.clone(), expected: shape });
        }
        let limit = self.gpu.capabilities().max_binding_bytes;
        let elements = shape.dims().iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
        let padded = elements.and_then(|elements| elements.checked_next_multiple_of(ALIGNMENT));
        let needed = padded.map_or(u64::MAX, |padded| (padded as u64).saturating_mul(4));
        if needed > limit {
            return Err(Error::TooLarge { name, needed, limit });
        }
        let (chunk, start) = self.place(needed as usize / 4)?;
        let param = Param(Arc::new(Info { index: self.entries.len(), name, shape }));
        self.entries.push(Entry { param: param.clone(), chunk, start });
        if let Some(values) = values {
            self.set(&param, values)?;
        }
        Ok(param)
    }

    /// Room for `elements` more, a multiple of [`ALIGNMENT`]: the chunk and where it starts there.
    fn place(&mut self, elements: usize) -> Result<(usize, usize)> {
        let limit = (self.gpu.capabilities().max_binding_bytes / 4) as usize / ALIGNMENT * ALIGNMENT;
        let last = self.chunks.len().checked_sub(1).filter(|&last| self.chunks[last].used + elements <= limit);
        let Some(last) = last else {
            let flat = Flat::zeros(&self.gpu, INITIAL_CAPACITY.max(elements).min(limit))?;
            self.chunks.push(Chunk { flat, used: elements });
            return Ok((self.chunks.len() - 1, 0));
        };
        let chunk = &mut self.chunks[last];
        let start = chunk.used;
        if start + elements > chunk.capacity() {
            let flat = Flat::zeros(&self.gpu, (2 * chunk.capacity()).max(start + elements).min(limit))?;
            if start > 0 {
                let (from, to) = (chunk.flat.prefix(start)?, flat.prefix(start)?);
                self.gpu.copy(&from.value, &to.value)?;
                self.gpu.copy(&from.first, &to.first)?;
                self.gpu.copy(&from.second, &to.second)?;
            }
            chunk.flat = flat;
        }
        chunk.used += elements;
        Ok((last, start))
    }

    fn entry(&self, param: &Param) -> Result<&Entry> {
        let known = self.entries.get(param.index()).filter(|entry| entry.param == *param);
        known.ok_or_else(|| Error::UnknownParameter { name: param.name().to_owned() })
    }

    /// The parameter of this name.
    pub fn get(&self, name: &str) -> Option<&Param> {
        self.iter().find(|param| param.name() == name)
    }

    /// All parameters in the order of creation.
    pub fn iter(&self) -> impl Iterator<Item = &Param> {
        self.entries.iter().map(|entry| &entry.param)
    }

    /// The number of parameters.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of trainable numbers.
    pub fn elements(&self) -> usize {
        self.iter().map(|param| param.shape().len()).sum()
    }

    /// The current value: a view that later steps and [`Parameters::set`] change, until the store grows.
    ///
    /// # Errors
    /// When the parameter belongs to another store.
    pub fn tensor(&self, param: &Param) -> Result<Tensor> {
        let entry = self.entry(param)?;
        Ok(self.chunks[entry.chunk].flat.value.view(entry.start, param.shape().clone())?)
    }

    /// The current value on the host.
    ///
    /// # Errors
    /// When the parameter belongs to another store, or the device failed.
    pub fn read(&self, param: &Param) -> Result<Vec<f32>> {
        Ok(self.tensor(param)?.read()?)
    }

    /// Overwrites the value; the moments stay.
    ///
    /// # Errors
    /// When the parameter belongs to another store or has another number of elements.
    pub fn set(&mut self, param: &Param, values: &[f32]) -> Result<()> {
        let target = self.tensor(param)?;
        let shape = param.shape().clone();
        if values.len() != shape.len() {
            let (name, got) = (param.name().to_owned(), values.len());
            return Err(Error::ParameterShape { name, got, shape: [got].into(), expected: shape });
        }
        Ok(self.gpu.copy(&self.gpu.tensor(values, shape)?, &target)?)
    }

    /// Overwrites the value with a tensor of the parameter's shape on the same device; the moments stay.
    ///
    /// # Errors
    /// When the parameter belongs to another store or has another shape.
    pub fn set_tensor(&mut self, param: &Param, value: &Tensor) -> Result<()> {
        let target = self.tensor(param)?;
        if value.shape() != param.shape() {
            let (got, shape) = (value.len(), value.shape().clone());
            let name = param.name().to_owned();
            return Err(Error::ParameterShape { name, got, shape, expected: param.shape().clone() });
        }
        // A copy within one buffer is not allowed, so a view of a parameter goes through a fresh tensor.
        let fresh = unary::forward(&self.gpu, Unary::Affine { scale: 1.0, shift: 0.0 }, value)?;
        Ok(self.gpu.copy(&fresh, &target)?)
    }

    /// Sets all moments to zero, as for a new phase of training.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub fn reset_moments(&mut self) -> Result<()> {
        for chunk in &mut self.chunks {
            chunk.flat.first = self.gpu.zeros([chunk.capacity()])?;
            chunk.flat.second = self.gpu.zeros([chunk.capacity()])?;
        }
        Ok(())
    }

    /// Every parameter with its moments, on the host: three reads per flat buffer.
    ///
    /// # Errors
    /// When the device failed.
    pub fn state(&self) -> Result<Vec<ParameterState>> {
        let mut flats = Vec::new();
        for flat in self.flats()? {
            flats.push([flat.value.read()?, flat.first.read()?, flat.second.read()?]);
        }
        let state = self.entries.iter().map(|Entry { param, chunk, start }| {
            let [values, first_moment, second_moment] =
                flats[*chunk].each_ref().map(|flat| flat[*start..start + param.shape().len()].to_vec());
            ParameterState {
                name: param.name().to_owned(),
                shape: param.shape().clone(),
                values,
                first_moment,
                second_moment,
            }
        });
        Ok(state.collect())
    }

    /// Overwrites every parameter and its moments. Nothing changes when the state does not fit.
    ///
    /// # Errors
    /// When the state lacks a parameter, has one that the store lacks or one of another shape.
    pub fn load_state(&mut self, state: &[ParameterState]) -> Result<()> {
        let mut flats: Vec<[Vec<f32>; 3]> =
            self.chunks.iter().map(|chunk| std::array::from_fn(|_| vec![0.0; chunk.used])).collect();
        for Entry { param, chunk, start } in &self.entries {
            let name = param.name().to_owned();
            let Some(from) = state.iter().find(|from| from.name == name) else {
                return Err(Error::MissingParameter { name });
            };
            for (flat, values) in flats[*chunk].iter_mut().zip([&from.values, &from.first_moment, &from.second_moment])
            {
                if from.shape != *param.shape() || values.len() != from.shape.len() {
                    let (got, shape) = (values.len(), from.shape.clone());
                    return Err(Error::ParameterShape { name, got, shape, expected: param.shape().clone() });
                }
                flat[*start..start + values.len()].copy_from_slice(values);
            }
        }
        let names: HashSet<&str> = self.iter().map(Param::name).collect();
        if let Some(from) = state.iter().find(|from| !names.contains(from.name.as_str())) {
            return Err(Error::UnknownParameter { name: from.name.clone() });
        }
        for (to, [value, first, second]) in self.flats()?.iter().zip(&flats) {
            self.gpu.copy(&self.gpu.tensor(value, [value.len()])?, &to.value)?;
            self.gpu.copy(&self.gpu.tensor(first, [first.len()])?, &to.first)?;
            self.gpu.copy(&self.gpu.tensor(second, [second.len()])?, &to.second)?;
        }
        Ok(())
    }

    /// The used part of every chunk that holds anything.
    pub(crate) fn flats(&self) -> Result<Vec<Flat>> {
        self.chunks.iter().map(|chunk| chunk.flat.prefix(chunk.used)).collect()
    }

    /// Copies gradients into the flat gradient buffers, zeros where the loss does not depend on a parameter.
    pub(crate) fn gather(&self, gradients: &Gradients) -> Result<Vec<Flat>> {
        for Entry { param, chunk, start } in &self.entries {
            let target = self.chunks[*chunk].flat.gradient.view(*start, param.shape().clone())?;
            match gradients.param(param) {
                Some(gradient) => self.gpu.copy(gradient, &target)?,
                None => self.gpu.clear(&target),
            }
        }
        self.flats()
    }

    /// The sum of the squares of all gradients together, as a tensor of one element.
    pub(crate) fn norm_squared(&self, flats: &[Flat]) -> Result<Tensor> {
        let mut total: Option<Tensor> = None;
        for flat in flats {
            let squares = unary::forward(&self.gpu, Unary::Square, &flat.gradient)?;
            let sum = reduce::all(&self.gpu, Reduction::Sum, &squares)?;
            total = Some(match total {
                Some(total) => binary::forward(&self.gpu, Binary::Add, &total, &sum)?,
                None => sum,
            });
        }
        total.map_or_else(|| Ok(self.gpu.zeros([])?), Ok)
    }

    /// The Euclidean norm of the gradients of all parameters together. Waits for the device: for a progress line or a
    /// check every hundred steps, not for every step. It is not finite when any gradient is not.
    ///
    /// # Errors
    /// When the device failed.
    pub fn gradient_norm(&self, gradients: &Gradients) -> Result<f32> {
        Ok(self.norm_squared(&self.gather(gradients)?)?.item()?.sqrt())
    }
}

fn require_scale(setting: &'static str, value: f32) -> Result<()> {
    if value >= 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(Error::Setting { what: "parameter", setting, value, expected: "a finite number, at least 0" })
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
