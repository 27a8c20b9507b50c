//! What a long computation reports while it goes on.

/// Receives progress; every method may be called from several threads, and does nothing by default.
pub trait Observer: Sync {
    /// A local step was taken.
    fn on_step(&self) {}

    /// So many images are going to be measured, by all clients that this process runs.
    fn on_measuring(&self, _images: usize) {}

    /// So many images were measured.
    fn on_images(&self, _images: usize) {}

    /// Something happened that a person may want to read.
    fn on_event(&self, _line: &str) {}

    /// Something happened that a person must read: about privacy.
    fn on_warning(&self, line: &str) {
        self.on_event(line);
    }
}

/// Nobody watches.
impl Observer for () {}
