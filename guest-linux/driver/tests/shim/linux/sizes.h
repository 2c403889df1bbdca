/* SPDX-License-Identifier: GPL-2.0 */
#define SZ_64K	0x10000
#define SZ_128K	0x20000
