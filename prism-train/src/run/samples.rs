//! Pictures of a run: a quick grid after a round, and the final one, drawn from the artifact that was written.

use std::path::Path;
