//! Read-back: a copy to a staging buffer, mapped when the device is done. Asynchronous at heart.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use super::Gpu;
use super::pool::{GUARD, POISON};
use super::recorder::Command;
use crate::{Element, Error, Result, Tensor};

/// The answer of `map_async`, once it is there.
type Mapped = Arc<Mutex<Option<std::result::Result<(), wgpu::BufferAsyncError>>>>;

/// A mapping that was asked for. The first poll waits for the device: on native targets nobody else drives it.
struct Mapping<'a> {
    gpu: &'a Gpu,
    submission: Option<wgpu::SubmissionIndex>,
    mapped: Mapped,
}

impl Future for Mapping<'_> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let wait = wgpu::PollType::Wait { submission_index: self.submission.take(), timeout: None };
        let polled = self.gpu.inner.device.poll(wait);
        let answer = self.mapped.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        match answer {
            Some(Ok(())) => Poll::Ready(self.gpu.check()),
            Some(Err(error)) => {
                self.gpu.fail(Error::Device(format!("read-back failed: {error}")));
                Poll::Ready(self.gpu.check())
            }
            None if polled.is_err() => {
                self.gpu.fail(Error::Device("the device stopped answering".into()));
                Poll::Ready(self.gpu.check())
            }
            None => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

impl Gpu {
    /// Copies a tensor to the host, after everything recorded before.
    pub(crate) async fn read_back<T: Element>(&self, tensor: &Tensor) -> Result<Vec<T>> {
        self.check()?;
        if self.inner.poison {
            self.check_guards().await?;
        }
        if tensor.is_empty() {
            return Ok(Vec::new());
        }
        self.recorder().counters.read_back_bytes += tensor.bytes();
        let staging = self.staging(tensor.bytes());
        self.record(Command::Copy {
            source: tensor.buffer().raw().clone(),
            source_offset: tensor.offset(),
            target: staging.clone(),
            target_offset: 0,
            bytes: tensor.bytes(),
        });
        self.map(&staging).await
    }

    fn staging(&self, size: u64) -> wgpu::Buffer {
        self.inner.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("staging"),
            size,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }

    async fn map<T: Element>(&self, staging: &wgpu::Buffer) -> Result<Vec<T>> {
        let submission = self.recorder().flush(&self.inner.device, &self.inner.queue);
        let mapped = Mapped::default();
        let answer = mapped.clone();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            *answer.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(result);
        });
        Mapping { gpu: self, submission, mapped }.await?;
        let range =
            staging.get_mapped_range(..).map_err(|error| Error::Device(format!("read-back failed: {error}")))?;
        Ok(bytemuck::pod_collect_to_vec(&range))
    }

    /// Checks the guard words of every buffer dropped since the last check (poison mode).
    pub(crate) async fn check_guards(&self) -> Result<()> {
        let dropped = self.inner.pool.take_unchecked();
        if dropped.is_empty() {
            return Ok(());
        }
        let staging = self.staging(2 * GUARD * dropped.len() as u64);
        for (i, (buffer, size)) in dropped.iter().enumerate() {
            for (side, source_offset) in [0, GUARD + size].into_iter().enumerate() {
                self.record(Command::Copy {
                    source: buffer.clone(),
                    source_offset,
                    target: staging.clone(),
                    target_offset: (2 * i + side) as u64 * GUARD,
                    bytes: GUARD,
                });
            }
        }
        let words: Vec<u32> = self.map(&staging).await?;
        if let Some(at) = words.iter().position(|&word| word != POISON) {
            let (buffer, size) = &dropped[at / (2 * GUARD as usize / 4)];
            self.fail(Error::Device(format!(
                "a kernel wrote outside a tensor of {size} bytes (buffer of {} bytes)",
                buffer.size()
            )));
        }
        for (buffer, _) in dropped {
            self.inner.pool.give_back(buffer);
        }
        self.check()
    }
}
