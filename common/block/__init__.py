"""Blocks: how the queue stores records. docs/formats/block.md draws them byte by byte.

A block holds the records and gaps of a run of sequences, of any number of plans. Its header says
how much of each without unpacking anything, and has a checksum of its own: a body that is damaged
still makes an exact gap. There are two forms of body, and one reader of both:

    appended   `encode_block`: scans as they come, record by record, as fast as can be
    compact    `encode_batch`: what has waited, written anew tag by tag, as small as can be

Promise
    What is read is what was written, to the bit, or BlockDamaged is raised; FormatUnknown when it
    is whole and of another version. No bytes make a reader do anything else, or reserve more
    memory than the limits allow.

Where things are
    header      what a block says of itself        body     directory and arrays, packed
    append      the appended form, both ways       arrays   how numbers are written in a row
    compact     the compact form, both ways        floats   floats as the integers they were made of
    decode      blocks → records, or a batch       runs     arithmetic on runs of equal items
    batch       records as arrays                  parts    scans before they have a sequence
    thinning    which samples stay                 slices   large blocks, read in parts

Limits
    2**20 samples and records, 65,535 plans, 64 MiB unpacked: more is refused, by writers too.
"""

from common.block.append import encode_block
from common.block.batch import Batch, PlacedGap, Section, join
from common.block.compact import encode_batch
from common.block.decode import decode_block, open_batch
from common.block.header import (
    BODY_BYTES_MAX,
    HEADER_BYTES_MAX,
    SAMPLES_MAX,
    BlockHeader,
    PlanCount,
    check_block,
    read_header,
)
from common.block.parts import NO_SOURCE_TIME, Layout, Part
from common.block.slices import SlicedBlock
from common.block.thinning import thinned

__all__ = [
    "BODY_BYTES_MAX",
    "HEADER_BYTES_MAX",
    "NO_SOURCE_TIME",
    "SAMPLES_MAX",
    "Batch",
    "BlockHeader",
    "Layout",
    "Part",
    "PlacedGap",
    "PlanCount",
    "Section",
    "SlicedBlock",
    "check_block",
    "decode_block",
    "encode_batch",
    "encode_block",
    "join",
    "open_batch",
    "read_header",
    "thinned",
]
