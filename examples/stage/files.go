package stage

import (
	"io/fs"
	"os"
	"path/filepath"
)

// Unpack writes the files of a file system, without its folders, to a new one where they can be edited.
func Unpack(name string, files fs.FS) (dir string, err error) {
	if dir, err = os.MkdirTemp("", name); err != nil {
		return "", err
	}
	return dir, fs.WalkDir(files, ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, path)
		if err != nil {
			return err
		}
		return Save(filepath.Join(dir, filepath.Base(path)), data)
	})
}

// Save writes a file as an editor does: whole, under a new name, then in place of the old one.
func Save(path string, data []byte) error {
	if err := os.WriteFile(path+".new", data, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
