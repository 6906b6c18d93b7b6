//! The registry of data sets: names, addresses, checksums, licences; download with progress and resume into the user's cache
//! directory; verification; unpacking that is never half done. Any local path is accepted instead of a name.
