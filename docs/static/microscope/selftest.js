const Selftest = { begin() {} };
