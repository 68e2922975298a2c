//! Work on the host between two submits, where the adapter is the processor itself: tensors are mapped where they lie.

use std::ops::Range;

use super::Gpu;
use crate::{Error, Result, Tensor};

/// Multiply-adds from which the host wins against a software adapter, a round trip included (docs/results.md).
const PAYS_FROM: u64 = 1 << 18;

/// The threshold in force: what the configuration says, else the environment, else what pays.
pub(super) fn threshold(configured: Option<u64>) -> Result<u64> {
    let text = std::env::var("SOFTURN_HOST_MATMUL").unwrap_or_default();
    match (configured, text.as_str()) {
        (Some(threshold), _) => Ok(threshold),
        (None, "") => Ok(PAYS_FROM),
        (None, "never") => Ok(u64::MAX),
        (None, text) => text.parse().map_err(|_| {
            Error::argument("Gpu::new", "SOFTURN_HOST_MATMUL", format!("is '{text}', not a number or 'never'"))
        }),
    }
}

/// A buffer and the part of it that is mapped.
struct Window<'a> {
    buffer: &'a wgpu::Buffer,
    range: Range<u64>,
    mode: wgpu::MapMode,
}

impl Gpu {
    /// Whether products of so many multiply-adds run on the host.
    pub(crate) fn multiplies_on_host(&self, multiply_adds: u64) -> bool {
        self.inner.host_matmul < u64::MAX && multiply_adds >= self.inner.host_matmul
    }

    /// Runs `f` on the elements of `inputs` and `outputs`, after everything recorded before and before everything recorded
    /// later. Outputs must be fresh tensors, and are undefined when `f` starts.
    ///
    /// # Errors
    /// The first failure of the device.
    pub(crate) fn on_host(
        &self,
        inputs: &[&Tensor],
        outputs: &[&Tensor],
        f: impl FnOnce(&[&[f32]], &mut [&mut [f32]]),
    ) -> Result<()> {
        let device = &self.inner.device;
        // Held to the end: what another thread submits must not use a mapped buffer.
        let mut recorder = self.recorder();
        let submission_index = recorder.flush(device, &self.inner.queue);
        let windows = windows(inputs, outputs);
        for window in &windows {
            // A failure shows below, when the range is asked for.
            window.buffer.map_async(window.mode, window.range.clone(), |_| ());
        }
        let waited =
            device.poll(wgpu::PollType::Wait { submission_index, timeout: None }).map_err(|error| error.to_string());
        let mapped = waited.and_then(|_| with_mapped(inputs, outputs, f).map_err(|error| error.to_string()));
        for window in &windows {
            window.buffer.unmap();
        }
        if let Err(message) = mapped {
            self.fail(Error::Device(format!("mapping tensors failed: {message}")));
        }
        self.check()
    }
}

/// The bytes of a tensor in its buffer; they start at a multiple of 256.
fn span(tensor: &Tensor) -> Range<u64> {
    tensor.offset()..tensor.offset() + tensor.bytes()
}

/// One window per buffer: a buffer can be mapped once, and several inputs may be views of it.
fn windows<'a>(inputs: &[&'a Tensor], outputs: &[&'a Tensor]) -> Vec<Window<'a>> {
    let modes =
        [wgpu::MapMode::Read].repeat(inputs.len()).into_iter().chain([wgpu::MapMode::Write].repeat(outputs.len()));
    let mut windows: Vec<Window<'a>> = Vec::new();
    for (tensor, mode) in inputs.iter().chain(outputs).zip(modes) {
        let (buffer, range) = (tensor.buffer().raw(), span(tensor));
        match windows.iter_mut().find(|window| window.buffer == buffer) {
            Some(window) => window.range = window.range.start.min(range.start)..window.range.end.max(range.end),
            None => windows.push(Window { buffer, range, mode }),
        }
    }
    windows
}

fn with_mapped(
    inputs: &[&Tensor],
    outputs: &[&Tensor],
    f: impl FnOnce(&[&[f32]], &mut [&mut [f32]]),
) -> std::result::Result<(), wgpu::MapRangeError> {
    let read: Vec<wgpu::BufferView> = inputs
        .iter()
        .map(|tensor| tensor.buffer().raw().get_mapped_range(span(tensor)))
        .collect::<std::result::Result<_, _>>()?;
    let mut written: Vec<wgpu::BufferViewMut> = outputs
        .iter()
        .map(|tensor| tensor.buffer().raw().get_mapped_range_mut(span(tensor)))
        .collect::<std::result::Result<_, _>>()?;
    let read: Vec<&[f32]> = read.iter().map(|view| bytemuck::cast_slice(view)).collect();
    let mut written: Vec<&mut [f32]> = written.iter_mut().map(floats).collect();
    f(&read, &mut written);
    Ok(())
}

/// What is mapped for writing, to be read as well: on a software adapter it is ordinary memory.
#[allow(unsafe_code)]
fn floats(view: &mut wgpu::BufferViewMut) -> &mut [f32] {
    let length = view.len() / 4;
    let start = view.slice(..).as_raw_element_ptr().cast::<f32>();
    // SAFETY: the view owns these bytes for as long as it is borrowed here. wgpu has initialised them, every bit pattern
    // is an f32, and the range starts at a multiple of 256 of a mapping that is aligned to 64 at least.
    unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), length) }
}
