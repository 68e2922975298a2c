//! Whole-buffer pool: a dropped tensor's buffer is reused by the next request of its size class.
//!
//! Reuse needs no fence: a buffer is only ever touched by commands of one queue, recorded in order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// The guard words on either side of a poisoned buffer, in bytes.
pub(crate) const GUARD: u64 = 256;
/// What poisoned buffers are filled with: a NaN as f32, and no valid index.
pub(crate) const POISON: u32 = 0xffff_ffff;

/// What a device's pool has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolStatistics {
    /// Buffers created since the device was opened.
    pub created: u64,
    /// Bytes of all buffers, in use or waiting.
    pub allocated_bytes: u64,
    /// Bytes of the buffers that tensors hold now.
    pub in_use_bytes: u64,
    /// The largest that `in_use_bytes` has been since the last [`crate::Gpu::reset_high_water`].
    pub high_water_bytes: u64,
}

#[derive(Default)]
struct Free {
    by_size: HashMap<u64, Vec<wgpu::Buffer>>,
    statistics: PoolStatistics,
    /// Buffers dropped since the last read in poison mode, waiting for their guard words to be checked.
    unchecked: Vec<(wgpu::Buffer, u64)>,
}

/// The free buffers of one device.
#[derive(Clone)]
pub(crate) struct Pool {
    free: Arc<Mutex<Free>>,
    poison: bool,
    usage: wgpu::BufferUsages,
    /// The largest payload that the adapter can allocate, guards aside.
    largest: u64,
}

/// A buffer on loan from the pool; dropping it gives it back.
pub struct PooledBuffer {
    buffer: wgpu::Buffer,
    size: u64,
    class: u64,
    pool: Pool,
}

impl Pool {
    /// With `mapped`, the host can read and write the buffers where they lie.
    pub(crate) fn new(poison: bool, mapped: bool, max_buffer_bytes: u64) -> Self {
        let guards = if poison { 2 * GUARD } else { 0 };
        let mut usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        usage.set(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::MAP_WRITE, mapped);
        Self { free: Arc::default(), poison, usage, largest: max_buffer_bytes.saturating_sub(guards) & !255 }
    }

    /// The largest `size` that [`Pool::take`] takes, in bytes.
    pub(crate) fn largest(&self) -> u64 {
        self.largest
    }

    fn lock(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A buffer of at least `size` bytes, contents undefined.
    pub(crate) fn take(&self, device: &wgpu::Device, size: u64) -> PooledBuffer {
        let guards = if self.poison { 2 * GUARD } else { 0 };
        let class = size_class(size).min(self.largest) + guards;
        let mut free = self.lock();
        // In poison mode a buffer returns to the free list only after its guards were read, so nothing is reused early.
        let reused = free.by_size.get_mut(&class).and_then(Vec::pop);
        if reused.is_none() {
            free.statistics.created += 1;
            free.statistics.allocated_bytes += class;
        }
        free.statistics.in_use_bytes += class;
        free.statistics.high_water_bytes = free.statistics.high_water_bytes.max(free.statistics.in_use_bytes);
        drop(free);
        let buffer = reused.unwrap_or_else(|| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: class,
                usage: self.usage,
                mapped_at_creation: false,
            })
        });
        PooledBuffer { buffer, size, class, pool: self.clone() }
    }

    pub(crate) fn statistics(&self) -> PoolStatistics {
        self.lock().statistics
    }

    pub(crate) fn reset_high_water(&self) {
        let mut free = self.lock();
        free.statistics.high_water_bytes = free.statistics.in_use_bytes;
    }

    /// The dropped buffers whose guards are still to be checked, with the size of their payload.
    pub(crate) fn take_unchecked(&self) -> Vec<(wgpu::Buffer, u64)> {
        std::mem::take(&mut self.lock().unchecked)
    }

    pub(crate) fn give_back(&self, buffer: wgpu::Buffer) {
        let size = buffer.size();
        self.lock().by_size.entry(size).or_default().push(buffer);
    }
}

impl PooledBuffer {
    pub(crate) fn raw(&self) -> &wgpu::Buffer {
        &self.buffer
    }

    /// Where the payload starts: behind the leading guard words in poison mode, else 0.
    pub(crate) fn start(&self) -> u64 {
        if self.pool.poison { GUARD } else { 0 }
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        let buffer = self.buffer.clone();
        let mut free = self.pool.lock();
        free.statistics.in_use_bytes -= self.class;
        if self.pool.poison {
            free.unchecked.push((buffer, self.size));
        } else {
            free.by_size.entry(self.class).or_default().push(buffer);
        }
    }
}

/// The size rounded up to four steps per power of two, so that at most a fifth of a buffer is slack.
fn size_class(size: u64) -> u64 {
    let size = size.max(256);
    let step = (size.next_power_of_two() / 8).max(256);
    size.div_ceil(step) * step
}

#[cfg(test)]
mod tests {
    use super::size_class;

    #[test]
    fn size_classes_cover_with_little_slack() {
        for size in [1, 255, 256, 257, 1000, 4095, 4096, 4097, 1 << 20, (1 << 20) + 1, 3_000_000_001] {
            let class = size_class(size);
            assert!(class >= size && class.is_multiple_of(256), "{size} -> {class}");
            assert!(size < 2048 || class as f64 <= size as f64 * 1.25, "{size} -> {class}");
        }
    }
}
