//! What stands between C and Rust: errors become a status and a sentence, panics too, pointers become references.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use prism_core::{Error, Result};

use crate::PrismStatus;

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// The sentence of the last failure on this thread.
pub(crate) fn last_error() -> *const c_char {
    // A thread that is ending has no sentence any more.
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// Does `work`, and keeps what went wrong for [`last_error`].
pub(crate) fn guard(work: impl FnOnce() -> Result<()>) -> PrismStatus {
    let (status, sentence) = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => return PrismStatus::Ok,
        Ok(Err(error)) => {
            let status = if error.exit_code() == 2 { PrismStatus::Usage } else { PrismStatus::Failure };
            (status, error.to_string())
        }
        Err(_) => (PrismStatus::Bug, "libprism has met a mistake of its own; please report it".to_owned()),
    };
    let sentence = CString::new(sentence.replace('\0', "")).unwrap_or_default();
    let _ = LAST.try_with(|last| last.replace(sentence));
    status
}

/// What a pointer refers to.
pub(crate) fn given<T>(reference: Option<T>, name: &str) -> Result<T> {
    reference.ok_or_else(|| Error::usage(format!("{name} is NULL")))
}

/// The text at `pointer`; none for NULL.
///
/// # Safety
/// It must be NULL or a text that ends with a zero byte and lives as long as the result is used.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(pointer) }.to_str();
    text.map(Some).map_err(|_| Error::usage(format!("{name} is no UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_status_and_a_sentence() {
        assert_eq!(guard(|| panic!("on purpose")), PrismStatus::Bug);
        // SAFETY: no other call was made since.
        let sentence = unsafe { CStr::from_ptr(last_error()) };
        assert!(sentence.to_str().unwrap().contains("please report"));
    }
}
