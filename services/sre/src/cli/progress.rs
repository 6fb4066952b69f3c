//! Progress while a command waits, on a terminal only.

use std::time::Duration;

use indicatif::ProgressBar;

/// A spinner that goes away when it is dropped.
pub struct Progress(ProgressBar);

impl Progress {
    /// Starts one. Draws nothing where standard error is no terminal.
    pub fn start(text: &str) -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_message(text.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    /// Says what it waits for now.
    pub fn say(&self, text: &str) {
        self.0.set_message(text.to_owned());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
