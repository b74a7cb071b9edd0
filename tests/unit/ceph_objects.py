"""RADOS objects of images, as much as reading their metadata takes; rados' binding of the same shape."""

import errno
from types import SimpleNamespace


class Error(Exception):
    def __init__(self, message="", number=0):
        super().__init__(message)
        self.errno = number


class ObjectNotFound(Error):  # noqa: N818 - as librados calls it
    pass


RADOS = SimpleNamespace(Error=Error, ObjectNotFound=ObjectNotFound)


def encoded(text):
    return len(text).to_bytes(4, "little") + text


class Objects:
    """Answer as cls_rbd's metadata_list does: by the order of bytes, 64 at most, in limited room."""

    def __init__(self, metadata):
        """metadata(image) gives its keys and values as bytes; raises KeyError for no image."""
        self.metadata = metadata
        self.asked = 0

    def read(self, key):
        image = key.removeprefix("rbd_id.")
        assert image != key
        self._found(image)
        return encoded(f"id-of-{image}".encode())

    def execute(self, key, cls, method, question, room):
        image = key.removeprefix("rbd_header.id-of-")
        assert (image != key, cls, method) == (True, "rbd", "metadata_list")
        self.asked += 1
        length = int.from_bytes(question[:4], "little")
        after, most = question[4 : 4 + length], int.from_bytes(question[4 + length :], "little")
        kept = self._found(image)
        chosen = sorted(key for key in kept if key > after)[: most or 64]
        answer = len(chosen).to_bytes(4, "little")
        answer += b"".join(encoded(key) + encoded(kept[key]) for key in chosen)
        if len(answer) > room:
            raise Error("result too large", errno.ERANGE)
        return len(answer), answer

    def remove_object(self, key):
        assert key.startswith("vm-mgr.nvram.id-of-")
        raise ObjectNotFound(key)

    def _found(self, image):
        try:
            return self.metadata(image)
        except KeyError:
            raise ObjectNotFound(image) from None
