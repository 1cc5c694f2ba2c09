//! Accounts of the telegram network against a data centre of our own: they log in, call each other, and lose what they have.

mod calls;
mod hostile;
mod login;
mod party;
