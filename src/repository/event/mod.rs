//! What a bucket tells of its changes, in the forms in which it arrives.
