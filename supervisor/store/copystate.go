package store

import (
	"errors"
	"fmt"
	"os"

	bolt "go.etcd.io/bbolt"
)

// Copy writes everything that the state holds into a new folder, so that OpenState
// can be tried there. What is on disk is not looked at, and not touched.
func (s *State) Copy(dir string) error {
	all := map[stateKey][]byte{}
	s.mu.Lock()
	for bucket, values := range s.values {
		for key, value := range values {
			all[stateKey{bucket, key}] = value
		}
	}
	s.mu.Unlock()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("cannot copy the state: %w", err)
	}
	db, err := bolt.Open(dir+"/"+stateFile, 0o600, &bolt.Options{NoFreelistSync: true, NoStatistics: true, NoSync: true})
	if err == nil {
		err = errors.Join(db.Update(func(tx *bolt.Tx) error { return putBatch(tx, all) }), db.Close())
	}
	if err != nil {
		return fmt.Errorf("cannot copy the state: %w", err)
	}
	return nil
}

// CopyFolder copies the files of a folder of records into a new one. A record that
// is written in that very moment has one of its copies whole.
func CopyFolder(from, to string) error {
	src, err := os.OpenRoot(from)
	if err != nil {
		return fmt.Errorf("cannot copy records: %w", err)
	}
	defer src.Close()
	if err := os.Mkdir(to, 0o700); err != nil {
		return fmt.Errorf("cannot copy records: %w", err)
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return fmt.Errorf("cannot copy records: %w", err)
	}
	for _, e := range entries {
		data, err := src.ReadFile(e.Name())
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(to+"/"+e.Name(), data, 0o600)
		}
		if err != nil {
			return fmt.Errorf("cannot copy records: %w", err)
		}
	}
	return nil
}
