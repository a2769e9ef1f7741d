//! A frame to be sent: small things gathered, large bodies as they lie.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

use super::{FRAME_HEAD_BYTES, Out};

/// A body from this many bytes on is sent from where it lies. Gathering a smaller one costs less
/// than a part of its own.
const OWN_PART_BYTES: usize = 2048;

/// Bytes to be sent, in parts. As a [`Buf`] it goes out with few vectored writes.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    parts: VecDeque<Bytes>,
    left: usize,
}

impl Buf for Frame {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.parts);
        filled.map(|(slice, part)| *slice = IoSlice::new(part)).count()
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.left, "a frame is not advanced beyond its end");
        self.left -= count;
        while let Some(part) = self.parts.front_mut() {
            if count < part.len() {
                part.advance(count);
                break;
            }
            count -= part.len();
            self.parts.pop_front();
        }
    }
}

/// Puts a frame together behind its length.
pub(super) struct Builder {
    frame: Frame,
    small: Vec<u8>,
}

impl Builder {
    /// A frame of `length` bytes, of which about `small` are not bodies of their own.
    pub(super) fn new(length: usize, small: usize) -> Self {
        let mut small = Vec::with_capacity(FRAME_HEAD_BYTES + small);
        let head = u32::try_from(length).unwrap_or(u32::MAX);
        small.extend_from_slice(&head.to_be_bytes());
        Builder { frame: Frame { parts: VecDeque::new(), left: FRAME_HEAD_BYTES + length }, small }
    }

    /// Whether a body of this length is gathered.
    pub(super) fn gathers(bytes: usize) -> bool {
        bytes < OWN_PART_BYTES
    }

    pub(super) fn body(&mut self, body: &Bytes) {
        if Self::gathers(body.len()) {
            self.small.extend_from_slice(body);
        } else {
            self.part();
            self.frame.parts.push_back(body.clone());
        }
    }

    pub(super) fn finish(mut self) -> Frame {
        self.part();
        let bytes: usize = self.frame.parts.iter().map(Bytes::len).sum();
        assert_eq!(bytes, self.frame.left, "a frame is as long as was counted");
        self.frame
    }

    fn part(&mut self) {
        if !self.small.is_empty() {
            self.frame.parts.push_back(std::mem::take(&mut self.small).into());
        }
    }
}

impl Out for Builder {
    fn put(&mut self, bytes: &[u8]) {
        self.small.put(bytes);
    }
}
