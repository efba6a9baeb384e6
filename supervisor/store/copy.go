package store

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// One record has two copies side by side. A Put overwrites the older of them, so
// the newer one stays whole whatever happens to the write. One copy is, in little
// endian:
//
//	 0  magic    4 bytes
//	 4  version  1 byte
//	 5  flags    1 byte, bit 0: the record was cleared
//	 6  zero     2 bytes
//	 8  sequence 8 bytes, from 1 on; the higher one of two whole copies counts
//	16  slot     4 bytes, so that a copy in a wrong place is known
//	20  length   4 bytes
//	24  CRC-32C  4 bytes, of all before it and of the data
//	28  zero     4 bytes
//	32  data
const (
	copyMagic   = 0x72647573 // "sudr"
	copyVersion = 1
	copyHeader  = 32
	flagCleared = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// What decodeCopy finds instead of a record.
var (
	errNeverWritten = errors.New("never written")
	errTorn         = errors.New("half written or damaged")
)

// recordCopy is one decoded copy.
type recordCopy struct {
	sequence uint64
	cleared  bool
	data     []byte // within the decoded bytes
}

// encodeCopy puts a copy into buf, which must have room for copyHeader+len(data)
// bytes, and returns the part that it filled.
func encodeCopy(buf []byte, slot int, c recordCopy) []byte {
	buf = buf[:copyHeader+len(c.data)]
	clear(buf[:copyHeader])
	binary.LittleEndian.PutUint32(buf[0:], copyMagic)
	buf[4] = copyVersion
	if c.cleared {
		buf[5] = flagCleared
	}
	binary.LittleEndian.PutUint64(buf[8:], c.sequence)
	binary.LittleEndian.PutUint32(buf[16:], uint32(slot))
	binary.LittleEndian.PutUint32(buf[20:], uint32(len(c.data)))
	copy(buf[copyHeader:], c.data)
	binary.LittleEndian.PutUint32(buf[24:], copySum(buf))
	return buf
}

// copySum is the checksum of an encoded copy; data follows the header at once.
func copySum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:24], castagnoli), castagnoli, b[copyHeader:])
}

// decodeCopy reads the copy at the start of b, which may be longer. The error is
// errNeverWritten (nothing but zeros in the header) or errTorn.
func decodeCopy(b []byte, slot int) (recordCopy, error) {
	if len(b) < copyHeader {
		return recordCopy{}, errTorn
	}
	if isZero(b[:copyHeader]) {
		return recordCopy{}, errNeverWritten
	}
	length := binary.LittleEndian.Uint32(b[20:])
	if binary.LittleEndian.Uint32(b[0:]) != copyMagic ||
		b[4] != copyVersion || b[5]&^flagCleared != 0 || b[6] != 0 || b[7] != 0 ||
		binary.LittleEndian.Uint32(b[16:]) != uint32(slot) ||
		binary.LittleEndian.Uint32(b[28:]) != 0 ||
		uint64(length) > uint64(len(b)-copyHeader) {
		return recordCopy{}, errTorn
	}
	b = b[:copyHeader+int(length)]
	if binary.LittleEndian.Uint32(b[24:]) != copySum(b) {
		return recordCopy{}, errTorn
	}
	c := recordCopy{
		sequence: binary.LittleEndian.Uint64(b[8:]),
		cleared:  b[5] == flagCleared,
		data:     b[copyHeader:],
	}
	if c.sequence == 0 {
		return recordCopy{}, errTorn
	}
	return c, nil
}

func isZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// newest picks between the two copies of a slot. which is 0 or 1, or -1 when the
// slot holds nothing. The error is errTorn when something was there and neither
// copy is whole. One torn copy beside one that was never written is no error: it
// is a first Put that did not get to its end.
func newest(pair []byte, slot int) (c recordCopy, which int, err error) {
	half := len(pair) / 2
	a, errA := decodeCopy(pair[:half], slot)
	b, errB := decodeCopy(pair[half:], slot)
	switch {
	case errA == nil && (errB != nil || a.sequence > b.sequence):
		return a, 0, nil
	case errB == nil:
		return b, 1, nil
	case errA == errTorn && errB == errTorn:
		return recordCopy{}, -1, errTorn
	}
	return recordCopy{}, -1, nil
}
