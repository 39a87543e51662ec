//! setdomainname(2).

/// Sets the NIS domain name of the UTS namespace.
pub fn set(name: &str) -> nix::Result<()> {
    // SAFETY: the pointer and the length are those of one string that outlives the call.
    super::answer(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }.into())?;
    Ok(())
}
