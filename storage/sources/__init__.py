"""Sources of images outside: archives, buckets, folders, FTP and Samba servers. One adapter of `ImageFiles` each.

Must not know what becomes of the images.
"""
