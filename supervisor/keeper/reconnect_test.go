package keeper

func shortLived(dir string) {}
