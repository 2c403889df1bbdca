//! QEMU TCG plugin of the attack profile.
