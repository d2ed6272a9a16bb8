package kernel

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// The frames between memwhy and its reader process, little endian. Answers are
// megabytes at times, so nothing in them is encoded.
//
//	question: length of Op u32, length of Path u32, Max i64; Op, Path
//	answer:   State u8, At in Unix nanoseconds i64 (0: none), CPU time so far in nanoseconds i64,
//	          length of Err u32, length of Data u32; Err, Data
const (
	questionHead = 16
	answerHead   = 25
	maxFrame     = 64 << 20
)

func appendQuestion(b []byte, q Question) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, uint32(len(q.Op)))
	b = le.AppendUint32(b, uint32(len(q.Path)))
	b = le.AppendUint64(b, uint64(q.Max))
	return append(append(b, q.Op...), q.Path...)
}

func readQuestion(r *bufio.Reader) (Question, error) {
	var head [questionHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Question{}, err
	}
	le := binary.LittleEndian
	op, path := int(le.Uint32(head[:])), int(le.Uint32(head[4:]))
	words, err := body(r, op, path)
	if err != nil {
		return Question{}, err
	}
	return Question{Op: Op(words[:op]), Path: string(words[op:]), Max: int(le.Uint64(head[8:]))}, nil
}

// writeAnswer writes a small answer at once, and a large one without a copy.
func writeAnswer(w io.Writer, a Answer, cpu time.Duration) error {
	le := binary.LittleEndian
	var at int64
	if !a.At.IsZero() {
		at = a.At.UnixNano()
	}
	b := make([]byte, 0, 512)
	b = append(b, byte(a.State))
	b = le.AppendUint64(b, uint64(at))
	b = le.AppendUint64(b, uint64(cpu))
	b = le.AppendUint32(b, uint32(len(a.Err)))
	b = le.AppendUint32(b, uint32(len(a.Data)))
	b = append(b, a.Err...)
	if len(a.Data) <= 64<<10 {
		_, err := w.Write(append(b, a.Data...))
		return err
	}
	if _, err := w.Write(b); err != nil {
		return err
	}
	_, err := w.Write(a.Data)
	return err
}

func readAnswer(r *bufio.Reader) (a Answer, cpu time.Duration, err error) {
	var head [answerHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return a, 0, err
	}
	le := binary.LittleEndian
	a.State = snapshot.State(head[0])
	if at := int64(le.Uint64(head[1:])); at != 0 {
		a.At = time.Unix(0, at)
	}
	why, err := body(r, int(le.Uint32(head[17:])), 0)
	if err != nil {
		return a, 0, err
	}
	a.Err = string(why)
	a.Data, err = body(r, int(le.Uint32(head[21:])), 0)
	return a, time.Duration(le.Uint64(head[9:])), err
}

// body reads as many bytes as two lengths of a head say.
func body(r io.Reader, first, second int) ([]byte, error) {
	if first < 0 || second < 0 || first > maxFrame || second > maxFrame {
		return nil, fmt.Errorf("a frame of %d bytes", first+second)
	}
	if first+second == 0 {
		return nil, nil
	}
	b := make([]byte, first+second)
	_, err := io.ReadFull(r, b)
	return b, err
}
