//! GPU time of each kernel, by timestamps around passes of one dispatch.

use std::collections::BTreeMap;

/// How often a kernel ran and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KernelTime {
    /// The operation.
    pub op: &'static str,
    /// The entry point.
    pub entry: &'static str,
    /// Dispatches.
    pub calls: u64,
    /// Total time in seconds.
    pub seconds: f64,
}

pub(crate) struct Profiler {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
    times: BTreeMap<(&'static str, &'static str), (u64, f64)>,
}

impl Profiler {
    pub(crate) fn new(device: &wgpu::Device, slots: usize) -> Self {
        let size = 2 * 8 * slots as u64;
        let buffer = |usage| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("timestamps"),
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        Self {
            queries: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count: 2 * slots as u32,
            }),
            resolved: buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            staging: buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST),
            times: BTreeMap::new(),
        }
    }

    pub(crate) fn writes(&self, dispatch: usize) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(2 * dispatch as u32),
            end_of_pass_write_index: Some(2 * dispatch as u32 + 1),
        }
    }

    pub(crate) fn resolve(&self, encoder: &mut wgpu::CommandEncoder, dispatches: usize) {
        if dispatches > 0 {
            encoder.resolve_query_set(&self.queries, 0..2 * dispatches as u32, &self.resolved, 0);
            encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.staging, 0, 16 * dispatches as u64);
        }
    }

    /// Waits for the submit and adds its times. Profiling is synchronous: it is not there to be fast.
    pub(crate) fn collect(
        &mut self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        labels: &[(&'static str, &'static str)],
    ) {
        if labels.is_empty() {
            return;
        }
        let slice = self.staging.slice(..16 * labels.len() as u64);
        slice.map_async(wgpu::MapMode::Read, |_| {});
        if device.poll(wgpu::PollType::wait_indefinitely()).is_err() {
            return;
        }
        if let Ok(range) = slice.get_mapped_range() {
            let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&range);
            for (label, pair) in labels.iter().zip(ticks.chunks_exact(2)) {
                let time = self.times.entry(*label).or_default();
                time.0 += 1;
                time.1 += pair[1].saturating_sub(pair[0]) as f64 * f64::from(queue.get_timestamp_period()) * 1e-9;
            }
        }
        self.staging.unmap();
    }

    pub(crate) fn times(&self) -> Vec<KernelTime> {
        let time = |(&(op, entry), &(calls, seconds))| KernelTime { op, entry, calls, seconds };
        self.times.iter().map(time).collect()
    }
}
