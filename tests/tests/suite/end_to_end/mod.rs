//! What people do with a running suite, in one process and split, with the same code.

mod smoke;
