//! Properties of the receiving buffer.
