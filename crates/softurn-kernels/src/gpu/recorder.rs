//! Commands in order, turned into one encoder and as few passes as possible, submitted every [`SLOTS`] dispatches.
//!
//! Parameters of a dispatch live in a slot of a uniform arena that is written once per submit: two dispatches never
//! share a slot, because `Queue::write_buffer` overtakes everything that is encoded but not yet submitted.

use std::collections::VecDeque;
use std::sync::Arc;

use super::pipeline::Pipeline;
use super::pool::POISON;
use super::profile::{KernelTime, Profiler};

/// Dispatches per submit.
const SLOTS: usize = 64;
/// Bytes of a slot: the largest parameter struct, and a multiple of every adapter's uniform alignment.
pub(crate) const SLOT: u64 = 256;
/// Submits that may wait on the queue before recording waits for the oldest.
const IN_FLIGHT: usize = 4;
/// Bytes of the buffer that poison is copied from.
const POISON_SOURCE: u64 = 1 << 20;

/// What a device was asked to do since it was opened. Counting costs nothing that can be measured, so it is always on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Kernels recorded.
    pub dispatches: u64,
    /// Command buffers handed to the queue.
    pub submissions: u64,
    /// Bind groups created.
    pub bind_groups: u64,
    /// Bytes of the tensors bound to dispatches: of each dispatch every input once and every output once. What a kernel
    /// reads twice counts once, and what it binds without reading all of it counts whole.
    pub bound_bytes: u64,
    /// Bytes that copies between tensors read and wrote, and that clears wrote.
    pub copied_bytes: u64,
    /// Bytes of the tensors made from host memory; parameters of kernels aside.
    pub uploaded_bytes: u64,
    /// Bytes of the tensors read back to host memory.
    pub read_back_bytes: u64,
}

impl Counters {
    /// What was added after `before` was read.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            dispatches: self.dispatches - before.dispatches,
            submissions: self.submissions - before.submissions,
            bind_groups: self.bind_groups - before.bind_groups,
            bound_bytes: self.bound_bytes - before.bound_bytes,
            copied_bytes: self.copied_bytes - before.copied_bytes,
            uploaded_bytes: self.uploaded_bytes - before.uploaded_bytes,
            read_back_bytes: self.read_back_bytes - before.read_back_bytes,
        }
    }
}

pub(crate) enum Command {
    Dispatch { pipeline: Arc<Pipeline>, buffers: wgpu::BindGroup, params: [u8; SLOT as usize], groups: [u32; 3] },
    Copy { source: wgpu::Buffer, source_offset: u64, target: wgpu::Buffer, target_offset: u64, bytes: u64 },
    Clear { target: wgpu::Buffer, offset: u64, bytes: u64 },
    Poison { target: wgpu::Buffer },
}

pub(crate) struct Recorder {
    commands: Vec<Command>,
    pending: usize,
    pub(crate) counters: Counters,
    arena: wgpu::Buffer,
    params: wgpu::BindGroup,
    poison: Option<wgpu::Buffer>,
    in_flight: VecDeque<wgpu::SubmissionIndex>,
    profiler: Option<Profiler>,
}

impl Recorder {
    pub(crate) fn new(device: &wgpu::Device, params_layout: &wgpu::BindGroupLayout, profile: bool) -> Self {
        let arena = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("parameters"),
            size: SLOT * SLOTS as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let params = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: params_layout,
            entries: &[wgpu::BindGroupEntry {
                binding: 0,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &arena,
                    offset: 0,
                    size: wgpu::BufferSize::new(SLOT),
                }),
            }],
        });
        Self {
            commands: Vec::new(),
            pending: 0,
            counters: Counters::default(),
            arena,
            params,
            poison: None,
            in_flight: VecDeque::new(),
            profiler: profile.then(|| Profiler::new(device, SLOTS)),
        }
    }

    pub(crate) fn kernel_times(&self) -> Vec<KernelTime> {
        self.profiler.as_ref().map(Profiler::times).unwrap_or_default()
    }

    pub(crate) fn push(&mut self, command: Command, device: &wgpu::Device, queue: &wgpu::Queue) {
        if matches!(command, Command::Dispatch { .. }) {
            self.pending += 1;
            self.counters.dispatches += 1;
        }
        self.commands.push(command);
        if self.pending == SLOTS || self.commands.len() == 4 * SLOTS {
            self.flush(device, queue);
        }
    }

    /// Submits what is recorded; returns the index to wait for, if anything was ever submitted.
    pub(crate) fn flush(&mut self, device: &wgpu::Device, queue: &wgpu::Queue) -> Option<wgpu::SubmissionIndex> {
        if self.commands.is_empty() {
            return self.in_flight.back().cloned();
        }
        let commands = std::mem::take(&mut self.commands);
        let mut slots: Vec<u8> = Vec::with_capacity(self.pending * SLOT as usize);
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut next = commands.into_iter().peekable();
        let mut labels = Vec::new();
        while let Some(command) = next.next() {
            match command {
                Command::Copy { source, source_offset, target, target_offset, bytes } => {
                    encoder.copy_buffer_to_buffer(&source, source_offset, &target, target_offset, bytes);
                }
                Command::Clear { target, offset, bytes } => encoder.clear_buffer(&target, offset, Some(bytes)),
                Command::Poison { target } => {
                    let source = self.poison.get_or_insert_with(|| poison_source(device));
                    for start in (0..target.size()).step_by(POISON_SOURCE as usize) {
                        let bytes = (target.size() - start).min(POISON_SOURCE);
                        encoder.copy_buffer_to_buffer(source, 0, &target, start, bytes);
                    }
                }
                Command::Dispatch { .. } => {
                    let timestamps = self.profiler.as_ref().map(|profiler| profiler.writes(labels.len()));
                    let mut pass = encoder
                        .begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes: timestamps });
                    let mut command = Some(command);
                    while let Some(Command::Dispatch { pipeline, buffers, params, groups }) = command {
                        pass.set_pipeline(&pipeline.raw);
                        pass.set_bind_group(0, &buffers, &[]);
                        pass.set_bind_group(1, &self.params, &[slots.len() as u32]);
                        pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
                        slots.extend_from_slice(&params);
                        labels.push(pipeline.label);
                        // A profiled pass holds one dispatch, so that its timestamps are that kernel's.
                        let more = self.profiler.is_none();
                        command = next.next_if(|command| more && matches!(command, Command::Dispatch { .. }));
                    }
                }
            }
        }
        if !slots.is_empty() {
            queue.write_buffer(&self.arena, 0, &slots);
        }
        if let Some(profiler) = &self.profiler {
            profiler.resolve(&mut encoder, labels.len());
        }
        let index = queue.submit([encoder.finish()]);
        self.counters.submissions += 1;
        if let Some(profiler) = &mut self.profiler {
            profiler.collect(device, queue, &labels);
        }
        self.pending = 0;
        self.in_flight.push_back(index.clone());
        if self.in_flight.len() > IN_FLIGHT
            && let Some(oldest) = self.in_flight.pop_front()
        {
            // A failure here is reported by the device's callbacks, which stick.
            let _ = device.poll(wgpu::PollType::Wait { submission_index: Some(oldest), timeout: None });
        }
        Some(index)
    }
}

fn poison_source(device: &wgpu::Device) -> wgpu::Buffer {
    use wgpu::util::DeviceExt;
    device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
        label: Some("poison"),
        contents: bytemuck::cast_slice(&vec![POISON; POISON_SOURCE as usize / 4]),
        usage: wgpu::BufferUsages::COPY_SRC,
    })
}
