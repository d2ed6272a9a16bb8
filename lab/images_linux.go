package lab

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
)

// imageService is the story that memwhy began with, in small: a service renders
// images from files to files, and then the night comes.
var imageService = Scenario{
	Name:    "image-service",
	Summary: "a service that renders images into files, and then idles",
	Finding: cacheCold,
	needs:   disk,
	plant:   renderImages,
}

// imageSide makes a noisy picture of about 1 MiB as PNG.
const imageSide = 512

func renderImages(j job, t *Truth) error {
	var total int64
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := 0; total < j.Bytes; i++ {
		source := filepath.Join(j.WorkDir, fmt.Sprintf("source-%03d.png", i))
		result := filepath.Join(j.WorkDir, fmt.Sprintf("rendered-%03d.png", i))
		for _, step := range []func() error{
			func() error { return writePNG(source, noise(rnd)) },
			func() error { return render(source, result) },
			// Served to two visitors: cache that is read twice counts as active.
			func() error { return errors.Join(serve(source), serve(source)) },
			func() error { return errors.Join(serve(result), serve(result)) },
		} {
			if err := step(); err != nil {
				return err
			}
		}
		for _, path := range []string{source, result} {
			st, err := os.Stat(path)
			if err != nil {
				return err
			}
			// The last page of a file is charged whole.
			bytes := wholePages(st.Size())
			total += bytes
			t.file("file", path, bytes)
		}
	}
	t.add("file", total)
	t.cause(cacheCold, total)
	// Machines with DAMON may have evicted the first pictures meanwhile.
	for _, h := range t.Holders {
		if n, err := resident(h.Path); err != nil || n < h.Bytes {
			if err := errors.Join(err, serve(h.Path), serve(h.Path)); err != nil {
				return err
			}
		}
	}
	debug.FreeOSMemory() // an idle service: its heap is small, its cache stays
	return nil
}

func serve(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 64<<10))
	return err
}

func noise(rnd *rand.Rand) image.Image {
	img := image.NewRGBA(image.Rect(0, 0, imageSide, imageSide))
	for i := 0; i < len(img.Pix); i += 8 {
		binary.LittleEndian.PutUint64(img.Pix[i:], rnd.Uint64()|0xff000000_ff000000) // opaque
	}
	return img
}

// render turns a picture upside down.
func render(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	src, err := png.Decode(bufio.NewReader(f))
	if err != nil {
		return fmt.Errorf("decode %s: %w", from, err)
	}
	b := src.Bounds()
	dst := image.NewRGBA(b)
	for y := range b.Dy() {
		draw.Draw(dst, image.Rect(0, b.Dy()-1-y, b.Dx(), b.Dy()-y), src, image.Pt(0, y), draw.Src)
	}
	return writePNG(to, dst)
}

func writePNG(path string, img image.Image) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	enc := png.Encoder{CompressionLevel: png.NoCompression} // noise does not get smaller
	if err := enc.Encode(w, img); err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}
